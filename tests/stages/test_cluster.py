"""Photos of drawn people, several on some, in a folder as a camera leaves it."""

import csv
import os
import re
import shutil
import tarfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import facever
from facever.data.store.crop_store import CropStore
from facever.errors import DataError, FileError, MismatchError, ParameterError
from facever.faces.detection import Face
from facever.faces.templates import CARD_POINTS
from facever.inference.embedder import Embedder
from facever.inference.embeddings_file import read_embeddings
from facever.stages.cluster import ClusterSummary, cluster

# Who is on each photo: people 0 to 2 more than once, 3 and 4 once.
PHOTOS = {
    "IMG_1.png": [0],
    "IMG_2.png": [0, 1],
    "2019/IMG_1.png": [0],
    "2019/IMG_3.png": [1, 2, 3],
    "2019/img_1.png": [0],
    "trip/IMG_4.png": [2],
    "trip/IMG_5.png": [4],
    "trip/IMG_6.png": [],
}


def find_tiles(photos: Sequence[np.ndarray]) -> list[list[Face]]:
    """A face on each tile of 96 pixels that is not black, from left to right."""
    found = []
    for photo in photos:
        lefts = [x for x in range(0, photo.shape[1], 96) if photo[:, x : x + 96].any()]
        found.append(
            [
                Face(
                    CARD_POINTS + np.array([x, 0]), np.array([x, 0.0, x + 95, 111]), 1.0
                )
                for x in lefts
            ]
        )
    return found


@pytest.fixture(scope="module")
def people() -> list[np.ndarray]:
    """A coarse pattern for each person."""
    rng = np.random.default_rng(0)
    return [
        rng.integers(20, 230, (7, 6, 3)).repeat(16, axis=0).repeat(16, axis=1)
        for _ in range(5)
    ]


@pytest.fixture
def world(
    tmp_path: Path,
    people: list[np.ndarray],
    make_model: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> SimpleNamespace:
    """The photos, and a model with a threshold between its cosines."""
    monkeypatch.setattr("facever.faces.aligner.make_detector", lambda *_: find_tiles)
    rng = np.random.default_rng(1)
    for name, on_it in PHOTOS.items():
        tiles = [people[who] + rng.integers(-20, 21, (112, 96, 3)) for who in on_it]
        photo = np.concatenate([*tiles, np.zeros((112, 96, 3))], axis=1)
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo.astype(np.uint8)).save(path)
    (tmp_path / "photos" / "trip" / "torn.png").write_bytes(b"torn")
    model = make_model(tmp_path / "no-threshold.safetensors")
    embedder = facever.load(model, device="cpu")
    faces = np.stack([p.astype(np.uint8) for p in people])
    vectors = embedder.embed_crops(faces)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = float(np.sort((units @ units.T)[np.triu_indices(5, 1)])[-1])
    threshold = (1 + nearest) / 2
    return SimpleNamespace(
        photos=tmp_path / "photos",
        out=tmp_path / "out",
        bare_model=model,
        threshold=threshold,
        model=make_model(
            tmp_path / "model.safetensors", threshold=threshold, threshold_far=1e-3
        ),
    )


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def clusters_of(out: Path) -> dict[tuple[str, int], str]:
    return {
        (row["photo"], int(row["face"])): row["cluster"]
        for row in rows_of(out / "clusters.csv")
    }


EXPECTED = {
    ("IMG_1.png", 1): "1",
    ("IMG_2.png", 1): "1",
    ("2019/IMG_1.png", 1): "1",
    ("2019/img_1.png", 1): "1",
    ("2019/IMG_3.png", 1): "2",
    ("IMG_2.png", 2): "2",
    ("2019/IMG_3.png", 2): "3",
    ("trip/IMG_4.png", 1): "3",
    ("2019/IMG_3.png", 3): "alone",
    ("trip/IMG_5.png", 1): "alone",
}


def sort(world: SimpleNamespace, **options: Any) -> ClusterSummary:
    return cluster(world.photos, world.out, model=world.model, device="cpu", **options)


def test_everybody_on_every_photo_is_sorted(world: SimpleNamespace) -> None:
    summary = sort(world)
    assert clusters_of(world.out) == EXPECTED
    assert (summary.num_photos, summary.num_faces) == (7, 10)
    assert (summary.num_clusters, summary.num_alone) == (3, 2)
    assert summary.threshold == world.threshold
    assert summary.num_failed == 2
    failures = {row["source"]: row["reason"] for row in rows_of(summary.failures)}
    assert failures.keys() == {"trip/IMG_6.png", "trip/torn.png"}
    text = str(summary)
    assert "10 faces on 7 photos: 3 clusters, 2 faces alone" in text
    assert "2 photos without a face, and why" in text
    assert "has about" not in text


def test_the_table_goes_by_cluster_with_cosines_and_boxes(
    world: SimpleNamespace,
) -> None:
    sort(world)
    rows = rows_of(world.out / "clusters.csv")
    assert [row["cluster"] for row in rows] == [*"1111223", "3", "alone", "alone"]
    cosines = [float(row["cosine"]) for row in rows[:4]]
    assert cosines == sorted(cosines, reverse=True)
    assert min(cosines) > world.threshold
    assert {row["cosine"] for row in rows[-2:]} == {""}
    [third] = [r for r in rows if (r["photo"], r["face"]) == ("2019/IMG_3.png", "3")]
    left, top, right, bottom = (
        float(third[edge]) for edge in ("left", "top", "right", "bottom")
    )
    # The face fills the third tile, and its landmarks lie well inside the box.
    x, y = (CARD_POINTS + np.array([2 * 96, 0])).T
    assert 2 * 96 < left < x.min() - 10
    assert x.max() + 10 < right < 3 * 96
    assert 0 < top < y.min() - 30
    assert y.max() + 20 < bottom < 120


def test_the_sheet_has_a_line_for_each_cluster(world: SimpleNamespace) -> None:
    summary = sort(world)
    assert summary.sheet == world.out / "clusters.png"
    sheet = np.asarray(Image.open(summary.sheet).convert("RGB"))
    store = CropStore.open(world.out / "crops")

    def find(source: str) -> list[tuple[int, int]]:
        """Where the crop stands in the sheet: its top and left."""
        crop = store.crops[store.sources.index(source)]
        corners = np.argwhere((sheet == crop[0, 0]).all(axis=2)).tolist()
        return [
            (top, left)
            for top, left in corners
            if np.array_equal(sheet[top : top + 112, left : left + 96], crop)
        ]

    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for (photo, face), cluster_of in clusters_of(world.out).items():
        places[cluster_of] += find(photo if face == 1 else f"{photo}#{face}")
    assert {number: len(found) for number, found in places.items()} == {
        "1": 4,
        "2": 2,
        "3": 2,
        "alone": 0,
    }
    # Side by side, the most typical first, a cluster after the other.
    order = [place for number in "123" for place in places[number]]
    assert order == sorted(order)
    assert len({top for top, _ in places["1"]}) == 1


def test_copies_go_to_everybody_on_a_photo(world: SimpleNamespace) -> None:
    summary = sort(world, copy=True)
    assert summary.people == world.out / "people"
    copies = {
        str(path.relative_to(summary.people)): path
        for path in summary.people.rglob("*")
        if path.is_file()
    }
    # Names stay apart also where upper and lower case are one, and folders go.
    assert copies.keys() == {
        "person-001/IMG_1.png",
        "person-001/IMG_1~3.png",
        "person-001/img_1~2.png",
        "person-001/IMG_2.png",
        "person-002/IMG_2.png",
        "person-002/IMG_3.png",
        "person-003/IMG_3.png",
        "person-003/IMG_4.png",
        "alone/IMG_5.png",
    }
    for name, path in copies.items():
        same = [
            source
            for source in PHOTOS
            if (world.photos / source).read_bytes() == path.read_bytes()
        ]
        assert len(same) == 1, name
        assert path.stat().st_nlink == 1


def copies_of(out: Path) -> set[str]:
    people = out / "people"
    return {path.relative_to(people).as_posix() for path in people.rglob("*.*")}


def test_copies_are_not_mixed_with_those_that_are_there(
    world: SimpleNamespace,
) -> None:
    (world.out / "people" / "Ann").mkdir(parents=True)
    with pytest.raises(FileError, match=r"people holds Ann, which is not as .* --copy"):
        sort(world, copy=True)
    assert not (world.out / "crops").exists(), "before any work"
    summary = sort(world)
    assert summary.old_people == world.out / "people"
    assert "--copy replaces it" in str(summary)


def test_copies_of_an_earlier_run_are_replaced(world: SimpleNamespace) -> None:
    sort(world, copy=True)
    first = copies_of(world.out)
    # Nobody minds that copies are taken away.
    (world.out / "people" / "alone" / "IMG_5.png").unlink()
    summary = sort(world, copy=True, threshold=0.99999)
    assert summary.num_clusters == 0
    assert {Path(copy).parts[0] for copy in copies_of(world.out)} == {"alone"}
    sort(world, copy=True)
    assert copies_of(world.out) == first


def rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, (1, 1))


CHANGES: dict[str, Callable[[Path], object]] = {
    "person-001/mine.txt": lambda people: (people / "person-001/mine.txt").touch(),
    ".hidden": lambda people: (people / ".hidden").touch(),
    "Ann": lambda people: (people / "person-001").rename(people / "Ann"),
    "Bob": lambda people: (people / "Bob").mkdir(),
    "alone/IMG_2.png": lambda people: (people / "person-001/IMG_2.png").rename(
        people / "alone/IMG_2.png"
    ),
    "person-001/IMG_1.png": lambda people: rewrite(people / "person-001/IMG_1.png"),
}


@pytest.mark.parametrize("changed", CHANGES)
def test_what_somebody_has_done_there_is_not_lost(
    world: SimpleNamespace, changed: str
) -> None:
    sort(world, copy=True)
    CHANGES[changed](world.out / "people")
    before = copies_of(world.out)
    with pytest.raises(FileError, match=re.escape(f"people holds {changed}, which")):
        sort(world, copy=True, threshold=0.99999)
    assert copies_of(world.out) == before


def test_copies_without_their_table_are_not_replaced(world: SimpleNamespace) -> None:
    sort(world, copy=True)
    for spoil in (b"", b"\xff", b"copy,bytes,modified\na,b,c\n", None):
        table = world.out / "people.csv"
        table.unlink() if spoil is None else table.write_bytes(spoil)
        with pytest.raises(FileError, match="people holds alone, which is not as"):
            sort(world, copy=True)
    shutil.rmtree(world.out / "people")
    (world.out / "people").touch()
    with pytest.raises(FileError, match="people is a file"):
        sort(world, copy=True)
    (world.out / "people").unlink()
    (world.out / "people").mkdir()
    sort(world, copy=True)


def test_folders_that_are_no_people_do_not_matter(world: SimpleNamespace) -> None:
    """Nobody asks who is on the photos by their folders."""
    for folder in ("train/a", "test/b"):
        (world.photos.parent / "split" / folder).mkdir(parents=True)
    shutil.move(world.photos / "2019", world.photos.parent / "split/train/a/2019")
    shutil.move(world.photos / "trip", world.photos.parent / "split/test/b/trip")
    summary = cluster(
        world.photos.parent / "split", world.out, model=world.model, device="cpu"
    )
    assert summary.num_faces == 7


def test_copies_from_a_tar_file(world: SimpleNamespace, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for name in PHOTOS:
            tar.add(world.photos / name, name)
    summary = cluster(
        tmp_path / "photos.tar", world.out, model=world.model, device="cpu", copy=True
    )
    original = (world.photos / "trip/IMG_5.png").read_bytes()
    assert (summary.people / "alone" / "IMG_5.png").read_bytes() == original


def test_copies_of_frames(
    world: SimpleNamespace,
    tmp_path: Path,
    people: list[np.ndarray],
    write_video: Callable[..., Path],
) -> None:
    frame = people[0].astype(np.uint8)
    write_video(tmp_path / "clips" / "Ann.avi", [frame] * 5)
    summary = cluster(
        tmp_path / "clips",
        world.out,
        model=world.model,
        device="cpu",
        copy=True,
        frames="every:2",
    )
    copies = sorted((summary.people / "person-001").iterdir())
    assert [path.name for path in copies] == [f"{n:06}.jpg" for n in (1, 3, 5)]
    copied = np.asarray(Image.open(copies[0])).astype(int)
    assert np.abs(copied - frame).mean() < 6


class _Embedded:
    """Counts the crops that are embedded, and stops after so many calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_crops = 0
        self.calls_left = -1
        embed = Embedder.embed_crops

        def counted(embedder: Embedder, crops: Any, **options: Any) -> np.ndarray:
            if self.calls_left == 0:
                raise KeyboardInterrupt
            self.calls_left -= 1
            self.num_crops += len(crops)
            return embed(embedder, crops, **options)

        monkeypatch.setattr(Embedder, "embed_crops", counted)


def test_a_run_that_was_killed_goes_on(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facever.inference.kept_embeddings._PIECE_CROPS", 4)
    embedded = _Embedded(monkeypatch)
    embedded.calls_left = 1
    with pytest.raises(KeyboardInterrupt):
        sort(world)
    assert embedded.num_crops == 4
    assert len(read_embeddings(world.out / "embeddings.npz").images) == 4
    embedded.calls_left = -1
    monkeypatch.setattr("facever.stages.align.AlignWorkers", None)  # Nothing to align.
    sort(world)
    assert embedded.num_crops == 10
    assert clusters_of(world.out) == EXPECTED


def test_another_threshold_embeds_nothing_again(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sort(world)
    embedded = _Embedded(monkeypatch)
    summary = sort(world, threshold=-1.0)
    assert embedded.num_crops == 0
    assert (summary.num_clusters, summary.num_alone) == (1, 0)
    assert summary.far is None
    summary = sort(world, threshold=0.99999)
    assert (summary.num_clusters, summary.sheet) == (0, None)
    assert not (world.out / "clusters.png").exists(), "that of the run before"


def test_another_model_embeds_everything_again(
    world: SimpleNamespace,
    make_model: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sort(world)
    embedded = _Embedded(monkeypatch)
    other = make_model(world.out.parent / "other.safetensors", seed=1)
    cluster(world.photos, world.out, model=other, threshold=0.9, device="cpu")
    assert embedded.num_crops == 10


def test_embeddings_of_other_crops_under_the_same_names_are_not_taken(
    world: SimpleNamespace, make_store: Callable[..., Path], tmp_path: Path
) -> None:
    one = make_store(tmp_path / "one", (3, 2), seed=1)
    other = make_store(tmp_path / "other", (3, 2), seed=2)
    cluster(one, world.out, model=world.model, device="cpu")
    cluster(other, world.out, model=world.model, device="cpu")
    kept = read_embeddings(world.out / "embeddings.npz")
    embedder = facever.load(world.model, device="cpu")
    expected = embedder.embed_crops(CropStore.open(other).crops)
    np.testing.assert_allclose(kept.embeddings, expected, rtol=1e-4, atol=1e-4)


def test_a_crop_store_is_taken_as_it_is(
    world: SimpleNamespace, make_store: Callable[..., Path], tmp_path: Path
) -> None:
    store = make_store(tmp_path / "store", (3, 2, 1))
    summary = cluster(
        store, world.out, model=world.bare_model, threshold=-1.0, device="cpu"
    )
    assert not (world.out / "crops").exists()
    assert (summary.num_faces, summary.num_clusters) == (6, 1)
    rows = rows_of(world.out / "clusters.csv")
    assert sorted(row["photo"] for row in rows) == CropStore.open(store).sources
    assert {row["left"] for row in rows} == {""}, "the landmarks are not known"


def test_an_npz_needs_no_model_but_a_threshold(tmp_path: Path) -> None:
    images = np.array(["a.jpg", "a.jpg#2", "b.jpg", "c.jpg"])
    vectors = np.array([[1, 0.1], [0, 1.0], [1, 0], [-1, 0]])
    np.savez(tmp_path / "e.npz", embeddings=vectors, images=images)
    summary = cluster(tmp_path / "e.npz", tmp_path / "out", threshold=0.5)
    assert clusters_of(tmp_path / "out") == {
        ("b.jpg", 1): "1",
        ("a.jpg", 1): "1",
        ("a.jpg", 2): "alone",
        ("c.jpg", 1): "alone",
    }
    assert (summary.num_photos, summary.num_faces, summary.sheet) == (3, 4, None)
    for options in ({}, {"far": 1e-3}, {"threshold": 0.5, "far": 1e-3}):
        with pytest.raises(ParameterError, match="embeddings without a model need thr"):
            cluster(tmp_path / "e.npz", tmp_path / "out", **options)


def test_photos_are_embedded_by_the_default_model(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def load(model: str, *arguments: Any, **options: Any) -> Embedder:
        asked.append(model)
        return facever.load(world.model, *arguments, **options)

    monkeypatch.setattr("facever.stages.cluster.load", load)
    cluster(world.photos, world.out, device="cpu")
    assert asked == ["sface"]
    assert clusters_of(world.out) == EXPECTED


def test_a_false_accept_rate_names_one_of_the_thresholds(
    world: SimpleNamespace, make_model: Callable[..., Path]
) -> None:
    rates = [(1e-2, -1.0), (1e-4, 0.99999)]
    model = make_model(world.out.parent / "rates.safetensors", thresholds=rates)
    every = cluster(world.photos, world.out, model=model, far=1e-2, device="cpu")
    assert (every.threshold, every.far, every.num_clusters) == (-1.0, 1e-2, 1)
    none = cluster(world.photos, world.out, model=model, far=1e-4, device="cpu")
    assert (none.threshold, none.far, none.num_clusters) == (0.99999, 1e-4, 0)
    assert "accepts one pair of different people in ten thousand" in str(none)


def test_many_strangers_are_told_of(world: SimpleNamespace, tmp_path: Path) -> None:
    fingerprint = facever.load(world.model, device="cpu").model_fingerprint
    np.savez(
        tmp_path / "e.npz",
        embeddings=np.random.default_rng(0).normal(size=(4001, 16)),
        images=np.array([f"{number}.jpg" for number in range(4001)]),
        model_fingerprint=fingerprint,
    )
    options = {"model": world.model, "device": "cpu"}
    summary = cluster(tmp_path / "e.npz", world.out, **options)
    assert "has about 4 strangers above the threshold" in str(summary)
    summary = cluster(tmp_path / "e.npz", world.out, threshold=0.9, **options)
    assert "has about" not in str(summary)


class TestRefusals:
    def test_a_model_without_a_threshold(self, world: SimpleNamespace) -> None:
        with pytest.raises(
            ParameterError, match="this model knows no threshold: set one"
        ):
            cluster(world.photos, world.out, model=world.bare_model)
        assert not world.out.exists()

    def test_embeddings_of_another_model(
        self, world: SimpleNamespace, tmp_path: Path
    ) -> None:
        np.savez(tmp_path / "e.npz", embeddings=np.eye(2), images=["a.jpg", "b.jpg"])
        with pytest.raises(MismatchError, match="embeddings are of model unknown, not"):
            cluster(tmp_path / "e.npz", world.out, model=world.model)

    @pytest.mark.parametrize("inside", [".", "sorted", "2019/sorted"])
    def test_an_out_folder_inside_the_photos(
        self, world: SimpleNamespace, inside: str
    ) -> None:
        with pytest.raises(ParameterError, match="OUT must not be inside PHOTOS"):
            cluster(world.photos, world.photos / inside, model=world.model)
        assert not (world.photos / inside / "crops").exists()

    def test_copies_of_what_has_no_photos(
        self, world: SimpleNamespace, make_store: Callable[..., Path], tmp_path: Path
    ) -> None:
        store = make_store(tmp_path / "store", (2, 2))
        np.savez(tmp_path / "e.npz", embeddings=np.eye(2), images=["a.jpg", "b.jpg"])
        for source in (store, tmp_path / "e.npz"):
            with pytest.raises(
                ParameterError, match=r"--copy copies photos, and .* no"
            ):
                cluster(source, world.out, threshold=0.5, model=world.model, copy=True)

    def test_a_threshold_out_of_range(self, world: SimpleNamespace) -> None:
        with pytest.raises(ParameterError, match="threshold must be a cosine"):
            sort(world, threshold=1.5)
        assert not world.out.exists()

    def test_photos_without_faces(self, world: SimpleNamespace) -> None:
        for name in PHOTOS:
            if name != "trip/IMG_6.png":
                os.remove(world.photos / name)
        with pytest.raises(DataError, match="none of 2 photos gave a crop"):
            sort(world)


def test_the_command(world: SimpleNamespace, command: Callable[..., Any]) -> None:
    done = command(
        "cluster", world.photos, world.out, "--model", world.model, "--device", "cpu"
    )
    assert (done.code, done.err.count("Traceback")) == (0, 0)
    assert "3 clusters, 2 faces alone" in done.out
    done = command(
        *("cluster", world.photos, world.out, "--model", world.model, "--copy"),
        *("--method", "hdbscan", "--min-size", "2", "--threshold", world.threshold),
        *("--device", "cpu", "--json"),
    )
    assert done.code == 0
    assert '"method": "hdbscan"' in done.out
    assert clusters_of(world.out) == EXPECTED
    shutil.rmtree(world.out / "people")
    done = command("cluster", world.photos, world.out, "--model", world.bare_model)
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith("facever: this model knows no thr")
