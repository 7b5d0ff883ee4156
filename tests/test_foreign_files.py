"""Pipes, devices and deep JSON under the names of files end in a line at once."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facever.config.reading import load_config
from facever.config.training import TrainConfig
from facever.csv_tables import read_csv
from facever.data.sources.landmark_file import read_landmarks
from facever.data.store.crop_store import CropStore
from facever.data.store.subsets import read_list
from facever.data.store.verifying import find_damage
from facever.errors import DataError, FaceverError, FileError
from facever.foreign_files import check_regular
from facever.gallery.exchange import export_gallery, read_export
from facever.gallery.folder.gallery import Gallery
from facever.stages.evaluation.read_report import read_report
from facever.verification.protocols import read_pair_list

READERS: dict[str, Callable[[Path], object]] = {
    "a config": lambda path: load_config(TrainConfig, path),
    "a table": lambda path: list(read_csv(path, ["a"])),
    "a list of pairs": read_pair_list,
    "landmarks": read_landmarks,
    "a list of sources": read_list,
}


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("reader", READERS)
def test_pipes_and_devices_are_no_files(tmp_path: Path, reader: str, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "pipe":
        os.mkfifo(path)  # nobody ever writes into it
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(FaceverError, match="not a file, but a pipe, a device"):
        READERS[reader](path)


def test_the_size_of_a_file_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345678901")
    check_regular(path, 11)
    with pytest.raises(OSError, match="too large: the file has over 10 bytes"):
        check_regular(path, 10)


@pytest.mark.parametrize("name", ["store.json", "crops.npy", "crops.csv"])
def test_a_store_with_a_pipe_in_it_is_refused(
    tmp_path: Path, make_store: Callable[..., Path], name: str
) -> None:
    store = make_store(tmp_path / "store", (2, 1))
    (store / name).unlink()
    os.mkfifo(store / name)
    with pytest.raises(FileError, match=r"a pipe|not a crop store"):
        CropStore.open(store)


def test_a_pipe_in_the_place_of_an_index_is_built_again(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(1100, 8))
    with Gallery.create(tmp_path / "people", 8, index="sq8") as gallery:
        gallery.add(["Ann"] * 1100, vectors, [str(row) for row in range(1100)])
    os.mkfifo(tmp_path / "people" / "gallery.index")
    with Gallery(tmp_path / "people") as gallery:
        assert gallery.search(vectors[7:8])[0][0].source == "7"


def test_deep_json_is_damage_wherever_it_is_read(
    tmp_path: Path, make_store: Callable[..., Path]
) -> None:
    deep = "[" * 10**5
    with pytest.raises(RecursionError):
        json.loads(deep)
    store = make_store(tmp_path / "store", (2, 1))
    (store / "store.json").write_text(deep)
    with pytest.raises(FileError, match="nested too deeply"):
        CropStore.open(store)
    assert "store.json" in find_damage(store).files
    for folder, name, read in (
        ("report", "report.json", read_report),
        ("export", "gallery.json", read_export),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(deep)
        with pytest.raises(DataError, match="nested too deeply"):
            read(tmp_path / folder)


def test_embeddings_that_claim_more_than_their_file_holds_are_refused(
    tmp_path: Path,
) -> None:
    with Gallery.create(tmp_path / "people", 8) as gallery:
        gallery.add(["Ann"], np.ones((1, 8)), ["1.jpg"])
        (tmp_path / "out").mkdir()
        export_gallery(gallery, tmp_path / "out")
    path = tmp_path / "out" / "embeddings.npy"
    content = path.read_bytes()
    assert content.count(b"(1, 8)") == 1
    huge = b"(1%s, 8), }" % (b"0" * 12)
    path.write_bytes(content.replace(b"(1, 8), }".ljust(len(huge)), huge))
    with pytest.raises(FaceverError, match=r"embeddings\.npy cannot be read"):
        read_export(tmp_path / "out")
