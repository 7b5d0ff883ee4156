"""The job in shards gives what one machine gives; without Ray."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from facever.data.store.crop_store import CropStore
from facever.errors import FaceverError, FileError, MismatchError, ParameterError
from facever.gallery.base import AnyGallery
from facever.gallery.opening import open_gallery
from facever.inference.embedder import Embedder
from facever.inference.embeddings_file import read_embeddings
from facever.stages.align import align
from facever.stages.embed import embed
from facever.stages.gallery.enroll import add
from facever.stages.many_machines.job import run_job
from facever.stages.many_machines.shards import embeddings_of, failures_of
from facever.stages.store.changes import merge_stores


@pytest.fixture
def model(tmp_path: Path, make_model: Callable[..., Path]) -> str:
    return str(make_model(tmp_path / "model.safetensors"))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The crops that a network was given at a time."""
    seen: list[bytes] = []
    compute = Embedder._features

    def features(self: Embedder, crops: np.ndarray) -> Any:
        seen.append(crops.tobytes())
        return compute(self, crops)

    monkeypatch.setattr(Embedder, "_features", features)
    return seen


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def tables(out: Path) -> list[Any]:
    return [pq.read_table(path) for path in sorted((out / "faces").iterdir())]


def entries(gallery: AnyGallery) -> dict[tuple[str, str], tuple[bytes, str | None]]:
    found = {}
    for block, embeddings in gallery.read():
        for entry, embedding in zip(block, embeddings, strict=True):
            origin = gallery.origin(entry.id)
            digest = origin and origin.digest
            found[entry.name, entry.source] = embedding.tobytes(), digest
    return found


def test_it_gives_what_one_machine_gives(
    tmp_path: Path, photos: Path, model: str, here: Any, batches: list[bytes]
) -> None:
    one = tmp_path / "one"
    align(photos, one, detector="crops", workers=1)
    embed(model, one, tmp_path / "one.npz")
    expected_batches = sorted(batches)
    batches.clear()

    out, workers = tmp_path / "job", here()
    done = run_job(
        photos,
        out,
        model,
        workers,
        gallery=tmp_path / "gallery",
        detector="crops",
        shard_photos=64,
    )
    assert (done.num_photos, done.num_new, done.num_crops) == (150, 150, 135)
    assert [len(workers.done), done.num_stores, done.num_failures] == [6, 3, 15]
    # Not by luck of a network that gives the same in every batch.
    assert sorted(batches) == expected_batches
    merge_stores(sorted((out / "crops").iterdir()), tmp_path / "merged")
    assert files(tmp_path / "merged") == files(one)
    assert (out / "failures.csv").read_bytes() == (one / "failures.csv").read_bytes()

    whole = read_embeddings(tmp_path / "one.npz")
    found = tables(out)
    assert list(map(len, found)) == [64, 64, 7]
    table = pa.concat_tables(found)
    assert table["source"].to_pylist() == whole.images
    assert embeddings_of(table).tobytes() == whole.embeddings.tobytes()
    about = json.loads(found[0].schema.metadata[b"facever_faces"])
    assert about["model_fingerprint"] == whole.model_fingerprint
    store = CropStore.open(one)
    for row, png in enumerate(table["crop"].to_pylist()):
        picture = np.asarray(Image.open(io.BytesIO(png)))
        np.testing.assert_array_equal(picture, store.crops[row])

    # From a store ``gallery add`` embeds 32 at a time, which may round another way.
    add(tmp_path / "one-gallery", model, one, detector="crops")
    add(tmp_path / "npz-gallery", None, tmp_path / "one.npz")
    with (
        open_gallery(tmp_path / "gallery") as ours,
        open_gallery(tmp_path / "one-gallery") as theirs,
        open_gallery(tmp_path / "npz-gallery") as embedded,
    ):
        got, wanted, bits = entries(ours), entries(theirs), entries(embedded)
        assert {key: embedding for key, (embedding, _) in got.items()} == {
            key: embedding for key, (embedding, _) in bits.items()
        }
        assert list(got) == list(wanted)
        assert {key: digest for key, (_, digest) in got.items()} == {
            key: digest for key, (_, digest) in wanted.items()
        }
        assert ours.info().model_details == theirs.info().model_details
        # A face is read again from the store of its shard.
        [entry] = [
            entry
            for block, _ in ours.read()
            for entry in block
            if entry.source == "P6/0146.png"
        ]
        origin = ours.origin(entry.id)
        assert origin is not None
        assert entry.source in CropStore.open(origin.path).sources


@pytest.mark.parametrize("stop_before", [0, 2, 4])
def test_a_job_that_was_stopped_goes_on(
    tmp_path: Path, photos: Path, model: str, here: Any, stop_before: int
) -> None:
    def run(out: str, workers: Any) -> Any:
        return run_job(
            photos,
            tmp_path / out,
            model,
            workers,
            gallery=tmp_path / f"{out}-gallery",
            detector="crops",
            shard_photos=64,
        )

    run("whole", here())
    first, then = here(stop_before), here()
    with pytest.raises(RuntimeError, match="stopped"):
        run("job", first)
    # What a worker leaves that is killed in the middle.
    left = tmp_path / "job/crops/.00001.killed"
    left.mkdir(parents=True, exist_ok=True)
    (left / "00001").touch()
    done = run("job", then)
    assert sorted(first.done + then.done) == [
        *(("ShardAligner", number) for number in range(3)),
        *(("ShardEmbedder", number) for number in range(3)),
    ]
    assert done.num_new == 150 - sum(
        (22 if number == 2 else 64)
        for kind, number in first.done
        if kind == "ShardAligner"
    )
    for part in ("crops/00000", "crops/00001", "crops/00002", "faces", "."):
        ours, theirs = tmp_path / "job" / part, tmp_path / "whole" / part
        if part != ".":
            assert files(ours) == files(theirs)
        else:
            assert sorted(ours.iterdir()) == [
                ours / each.name for each in sorted(theirs.iterdir())
            ]
    with (
        open_gallery(tmp_path / "job-gallery") as gallery,
        open_gallery(tmp_path / "whole-gallery") as whole,
    ):
        assert entries(gallery) == entries(whole)
    again = run("job", here(0))
    assert (again.num_new, again.num_added, again.num_known) == (0, 0, 135)


def test_a_face_without_an_embedding_is_in_the_ledger(
    tmp_path: Path,
    photos: Path,
    model: str,
    here: Any,
) -> None:
    Image.new("RGB", (96, 112)).save(photos / "P1/0078.png")
    out = tmp_path / "job"
    done = run_job(
        photos,
        out,
        model,
        here(),
        gallery=tmp_path / "gallery",
        detector="crops",
        shard_photos=64,
    )
    reason = "the network's embedding is all zero or not finite"
    assert failures_of(out / "faces/00000.parquet") == {"P1/0078.png": reason}
    assert done.num_failures == 16
    assert (out / "failures.csv").read_text().endswith(f"P1/0078.png,{reason}\n")
    assert done.num_added == 134
    assert "16 photos without a crop or an embedding" in str(done)


def test_what_another_process_finished_first_stays(
    tmp_path: Path, photos: Path, model: str, here: Any
) -> None:
    """A worker that was taken for dead ends after the one in its place."""

    class Twice(here):
        def answers(self, make_work: Any, plan: Any, shards: Any) -> Any:
            for answer in super().answers(make_work, plan, shards):
                before = {
                    path: path.stat().st_ino for path in plan.crops(0).parent.iterdir()
                }
                if make_work.__name__ == "ShardAligner":
                    assert make_work(plan)(shards[-1]) == 22
                    for path, inode in before.items():
                        assert path.stat().st_ino == inode
                yield answer

    out = tmp_path / "job"
    run_job(photos, out, model, Twice(), detector="crops", shard_photos=64)
    assert sorted(path.name for path in (out / "crops").iterdir()) == [
        "00000",
        "00001",
        "00002",
    ]


def test_a_shard_that_kills_its_workers_ends_the_job(
    tmp_path: Path, photos: Path, model: str, here: Any
) -> None:
    class Killed(here):
        def answers(self, make_work: Any, plan: Any, shards: Any) -> Any:
            for number in range(5):
                (plan.folder / f"crops/.00001.{number}").mkdir(parents=True)
            return super().answers(make_work, plan, shards)

    out = tmp_path / "job"
    options: Any = {"detector": "crops", "shard_photos": 64}
    with pytest.raises(FaceverError, match=r"5 workers ended while .*crops/00001: is"):
        run_job(photos, out, model, Killed(), **options)
    assert run_job(photos, out, model, here(), **options).num_new == 128


def test_bad_input(
    tmp_path: Path, photos: Path, model: str, here: Any, make_model: Any
) -> None:
    options: Any = {"detector": "crops"}
    with pytest.raises(ParameterError, match="multiple of 64, whole batches, got 100"):
        run_job(photos, tmp_path / "job", model, here(), shard_photos=100, **options)
    with pytest.raises(ParameterError, match="--out must not be inside"):
        run_job(photos, photos / "job", model, here(), **options)
    with pytest.raises(FileError, match=r"holds no job\.json \(it holds "):
        run_job(photos / "P1", tmp_path, model, here(), **options)
    run_job(
        photos / "P1",
        tmp_path / "job",
        model,
        here(),
        gallery=tmp_path / "gallery",
        **options,
    )
    with pytest.raises(MismatchError, match=r"photos '22 with .*' there, '21 with"):
        run_job(photos / "P3", tmp_path / "job", model, here(), **options)
    other = str(make_model(tmp_path / "other.safetensors", seed=1))
    with pytest.raises(MismatchError, match="model"):
        run_job(photos / "P1", tmp_path / "job", other, here(), **options)
    nowhere = tmp_path / "new"
    with pytest.raises(MismatchError, match="model"):
        run_job(
            photos,
            nowhere,
            other,
            here(0),
            gallery=tmp_path / "gallery",
            **options,
        )
    assert not nowhere.exists()
