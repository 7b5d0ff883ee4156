"""Crops of an earlier evaluation are found, if they are those of the same photos."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facever.data.store.crop_store import CropStore
from facever.errors import DataError, MismatchError
from facever.faces.detection import Face
from facever.faces.templates import CARD_POINTS, TEMPLATES
from facever.stages.evaluation.features import Inputs
from facever.stages.evaluation.identify import identify
from facever.stages.evaluation.named_crops import align_named, photos_table

NAMES = [f"{name}/{number}.png" for name in ("Ann", "Bob", "Cy") for number in (1, 2)]


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for each photo that a detector has looked at: its first pixel's red."""
    seen: list[int] = []

    def detect(photos: Sequence[np.ndarray]) -> list[list[Face]]:
        seen.extend(int(photo[0, 0, 0]) for photo in photos)
        return [
            [Face(CARD_POINTS.copy(), np.array([0.0, 0, 95, 111]), 1.0)] * bool(p.any())
            for p in photos
        ]

    monkeypatch.setattr("facever.faces.aligner.make_detector", lambda *_: detect)
    return seen


def write_photo(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((112, 96, 3), number, np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos of the red 10, 20 and so on; the last has no face."""
    folder = tmp_path / "photos"
    for row, name in enumerate(NAMES):
        write_photo(folder / name, 10 * (row + 1) if row < 5 else 0)
    return folder


def find(
    photos: Path, out: Path, named: Sequence[str] = NAMES, **options: Any
) -> tuple[CropStore, tuple[str, ...]]:
    options = {"template": TEMPLATES["112x96"], "face": "center", **options}
    return align_named(photos, out / "crops", named, **options)


def test_the_same_photos_are_aligned_once(
    tmp_path: Path, photos: Path, looked_at: list[int]
) -> None:
    out = tmp_path / "run"
    first, notes = find(photos, out, NAMES[:3])
    assert looked_at == [10, 20, 30]
    assert notes == ()
    again, notes = find(photos, out, NAMES[:3])
    assert looked_at == [10, 20, 30]
    assert notes == (f"3 of the photos had been aligned already: {out / 'crops'}",)
    assert again.fingerprint == first.fingerprint
    # Other pairs of the same photos.
    more, notes = find(photos, out, NAMES[2:])
    assert looked_at == [10, 20, 30, 40, 50, 0]
    assert notes == (f"1 of the photos had been aligned already: {out / 'crops'}",)
    assert (len(more), list(more.failures)) == (5, [NAMES[5]])
    # Their folder has another name now.
    photos.rename(tmp_path / "moved")
    find(tmp_path / "moved", out)
    assert len(looked_at) == 6


def test_a_report_beside_it_has_them(
    tmp_path: Path, photos: Path, looked_at: list[int]
) -> None:
    find(photos, tmp_path / "first")
    looked_at.clear()
    others = [tmp_path / name / "crops" for name in ("none", "first")]
    store, notes = find(photos, tmp_path / "second", NAMES[:4], others=others)
    assert looked_at == []
    assert store.folder == tmp_path / "first" / "crops"
    assert notes == (f"4 of the photos had been aligned already: {store.folder}",)
    assert not (tmp_path / "second").exists()


def touch(photos: Path, seconds: int) -> None:
    stat = (photos / NAMES[1]).stat()
    os.utime(photos / NAMES[1], (stat.st_atime, stat.st_mtime + seconds))


def grow(photos: Path) -> None:
    stat = (photos / NAMES[1]).stat()
    with (photos / NAMES[1]).open("ab") as file:
        file.write(b"more")
    os.utime(photos / NAMES[1], (stat.st_atime, stat.st_mtime))


CHANGES: dict[str, tuple[Callable[[Path], object], dict[str, Any]]] = {
    "another time": (lambda photos: touch(photos, 5), {}),
    "another size": (grow, {}),
    "another template": (lambda _: None, {"template": TEMPLATES["112x112"]}),
    "another face": (lambda _: None, {"face": "largest"}),
    "another limit": (lambda _: None, {"max_pixels": 10**6}),
    "one more": (lambda photos: write_photo(photos / "Di" / "1.png", 70), {}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_crops_of_other_photos_or_another_way_beside_it_are_not_taken(
    tmp_path: Path, photos: Path, looked_at: list[int], what: str
) -> None:
    find(photos, tmp_path / "first")
    looked_at.clear()
    change, options = CHANGES[what]
    change(photos)
    named = [*NAMES, "Di/1.png"]
    others = [tmp_path / "first" / "crops"]
    store, notes = find(photos, tmp_path / "second", named, others=others, **options)
    assert store.folder == tmp_path / "second" / "crops"
    assert len(looked_at) == len(NAMES) + (what == "one more")
    assert not [note for note in notes if "already" in note]


@pytest.mark.parametrize("what", ["another time", "another size"])
def test_photos_that_have_changed_are_told(
    tmp_path: Path, photos: Path, looked_at: list[int], what: str
) -> None:
    out = tmp_path / "run"
    find(photos, out)
    CHANGES[what][0](photos)
    says = r"run/crops holds crops of photos whose files are others.* as Ann/2\.png"
    with pytest.raises(DataError, match=says):
        find(photos, out)
    # Photos that are not asked for do not matter.
    find(photos, out, NAMES[2:])
    # And what the message says to do helps.
    for path in (out / "crops").iterdir():
        path.unlink()
    (out / "crops").rmdir()
    looked_at.clear()
    find(photos, out)
    assert len(looked_at) == 6


def test_the_way_in_one_s_own_folder_is_told(
    tmp_path: Path, photos: Path, looked_at: list[int]
) -> None:
    find(photos, tmp_path / "run")
    with pytest.raises(MismatchError, match="made with other settings"):
        find(photos, tmp_path / "run", template=TEMPLATES["112x112"])


def test_an_alignment_that_was_killed_goes_on(
    tmp_path: Path,
    photos: Path,
    looked_at: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("facever.stages.align._BATCH_PHOTOS", 2)
    monkeypatch.setattr("facever.stages.align.count_workers", lambda _: 1)
    find(photos, tmp_path / "whole")
    out = tmp_path / "run"
    commit = "facever.data.store.writer.CropWriter.commit"
    with monkeypatch.context() as patch:
        from facever.data.store.writer import CropWriter

        real = CropWriter.commit

        def kill(writer: CropWriter) -> None:
            real(writer)
            raise KeyboardInterrupt

        patch.setattr(commit, kill)
        with pytest.raises(KeyboardInterrupt):
            find(photos, out)
    looked_at.clear()
    # Its own beginning goes before what lies beside it.
    others = [tmp_path / "whole" / "crops"]
    store, notes = find(photos, out, others=others)
    assert looked_at == [30, 40, 50, 0]
    assert notes == (f"2 of the photos had been aligned already: {out / 'crops'}",)
    assert (store.folder / "crops.npy").read_bytes() == (
        others[0] / "crops.npy"
    ).read_bytes()


@pytest.mark.parametrize("spoil", [b"", b"source,bytes\n", b"\xff\xfe", b"a,b,c\n1\n"])
def test_a_damaged_table(
    tmp_path: Path, photos: Path, looked_at: list[int], spoil: bytes
) -> None:
    find(photos, tmp_path / "first")
    photos_table(tmp_path / "first" / "crops").write_bytes(spoil)
    with pytest.raises(DataError, match=r"crops-photos\.csv is damaged .*--out"):
        find(photos, tmp_path / "first")
    looked_at.clear()
    find(photos, tmp_path / "second", others=[tmp_path / "first" / "crops"])
    assert len(looked_at) == 6


def test_two_models_one_after_the_other(
    tmp_path: Path,
    photos: Path,
    looked_at: list[int],
    make_model: Callable[..., Path],
    types_unchecked: None,
) -> None:
    """Through a stage, in folders of its own choice; a killed run's is no other's."""
    for name in ("g", "p"):
        rows = [f"{each},{each[:3]}" for each in NAMES[name == "p" : 5 : 2]]
        (tmp_path / f"{name}.csv").write_text("\n".join(["image,identity", *rows]))
    reports = []
    for seed in (1, 2):
        model = make_model(tmp_path / f"{seed}.safetensors", seed=seed)
        inputs = Inputs(model, photos=photos)
        out = tmp_path / "runs" / f"model-{seed}"
        lists = tmp_path / "g.csv", tmp_path / "p.csv"
        reports.append(identify(out, *lists, inputs))
    assert len(looked_at) == 5
    crops = tmp_path / "runs" / "model-1" / "crops"
    assert reports[1].notes == (f"5 of the photos had been aligned already: {crops}",)
    assert reports[1].notes[0] in reports[1].lines()
    assert reports[1].to_dict()["notes"] == list(reports[1].notes)
    # The crops of a killed run, with their table, are no folder of somebody else's.
    (tmp_path / "runs" / "model-1" / "identification.json").unlink()
    for path in (tmp_path / "runs" / "model-1").glob("*.[hp]*"):
        path.unlink()
    (tmp_path / "runs" / "model-1" / "probes.csv").unlink()
    identify(tmp_path / "runs" / "model-1", *lists, inputs)
    assert len(looked_at) == 5
