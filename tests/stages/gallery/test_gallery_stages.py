import json
import os
import tarfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from facever.data.store.writer import CropWriter
from facever.errors import (
    DataError,
    FileError,
    GalleryError,
    MismatchError,
    NotEnrolledError,
    ParameterError,
)
from facever.faces.aligner import PhotoAligner
from facever.faces.detection import Face
from facever.faces.detectors import DETECTORS, DetectorKind
from facever.faces.templates import CARD_POINTS
from facever.gallery.entries import Filter, Match, Origin
from facever.gallery.folder.gallery import Gallery
from facever.gallery.meta import Audit, Threshold
from facever.inference.formats.safetensors_file import save_model
from facever.inference.header import ModelHeader
from facever.inference.model_file import load_model
from facever.models import build_network
from facever.results import as_json
from facever.stages.gallery import enroll as stage
from facever.stages.gallery import exchange as gallery_exchange
from facever.stages.gallery import migrate as gallery_migrate
from facever.stages.gallery import search as gallery_search
from facever.stages.gallery import upkeep as gallery_upkeep


def detect(photos: Sequence[np.ndarray]) -> list[list[Face]]:
    """Stands in for a detector: black photos have no face, wide ones a second, larger.

    The larger face fills the columns from 96 on.
    """
    found = []
    for photo in photos:
        faces = []
        if photo.any():
            faces.append(Face(CARD_POINTS.copy(), np.array([9.0, 9, 80, 80]), 0.9))
        if photo.shape[1] > 96:
            shifted = CARD_POINTS + np.array([96.0, 0])
            faces.append(Face(shifted, np.array([96.0, 0, 192, 112]), 0.8))
        found.append(faces)
    return found


@pytest.fixture(autouse=True)
def _detector(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = DetectorKind(lambda device, backend: detect, has_backends=False)
    monkeypatch.setitem(DETECTORS, "mtcnn", kind)


def write_model(path: Path, seed: int = 0, **header: object) -> Path:
    torch.manual_seed(seed)
    options = {"width": 0.0625, "embedding_size": 16}
    network = build_network("resnet27", options)
    save_model(path, network, ModelHeader("resnet27", options, 16, **header))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.safetensors")


def picture(seed: int) -> np.ndarray:
    """A coarse pattern of random colours, so that pictures differ a lot."""
    coarse = np.random.default_rng(seed).integers(1, 256, (4, 3, 3), dtype=np.uint8)
    return coarse.repeat(28, axis=0).repeat(32, axis=1)


def write_photo(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    write_photo(folder / "Ann" / "1.png", picture(1))
    write_photo(folder / "Ann" / "2.png", picture(2))
    write_photo(folder / "Ann" / "dark.png", np.zeros((112, 96, 3), np.uint8))
    write_photo(folder / "Bob" / "1.png", picture(3))
    (folder / "Bob" / "broken.jpg").write_bytes(b"hello")
    write_photo(folder / "Cy.png", picture(4))
    return folder


def search(*values: Any, **options: Any) -> list[list[Match]]:
    return list(gallery_search.search(*values, **options).found.values())


def test_enrolls_folders_and_finds_each_photo(
    tmp_path: Path, model: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = tmp_path / "people"

    done = stage.add(people, model, photos)

    assert (done.num_added, done.num_known) == (4, 0)
    assert done.left_out == {
        "Ann/dark.png": "no face found",
        "Bob/broken.jpg": "not an image that can be read",
    }
    printed = capsys.readouterr()
    assert "enroll" in printed.err
    assert printed.out == ""
    assert done.lines() == [
        "  3 people in 6 photos; 1 person has one photo",
        "  left out Ann/dark.png: no face found",
        "  left out Bob/broken.jpg: not an image that can be read",
        f"{people}: 4 enrolled, 0 were there already, 2 left out; now 4 faces of 3 "
        "people",
    ]
    assert gallery_upkeep.list_people(people).names == {"Ann": 2, "Bob": 1, "Cy": 1}
    for name, photo in [("Ann", "Ann/2.png"), ("Bob", "Bob/1.png"), ("Cy", "Cy.png")]:
        found = gallery_search.search(people, model, photos / photo, k=9)
        assert isinstance(found, gallery_search.PhotoSearch)
        matches = found.matches
        rows = found.to_dict()["matches"]
        assert [row["id"] for row in rows] == [m.id for m in matches]
        assert len(matches) == 4
        assert matches[0].name == name
        assert matches[0].source == photo
        assert matches[0].cosine == pytest.approx(1, abs=1e-3)
        assert matches[1].cosine < matches[0].cosine - 1e-3


def test_adding_again_does_no_harm_and_looks_at_nothing(
    tmp_path: Path,
    model: Path,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people = tmp_path / "people"
    stage.add(people, model, photos)
    write_photo(photos / "Ann" / "3.png", picture(9))
    seen = []

    def watch(self: PhotoAligner, batch: list) -> list:
        seen.extend(photo.source for photo in batch)
        return align(self, batch)

    align = PhotoAligner.align
    monkeypatch.setattr(PhotoAligner, "align", watch)
    monkeypatch.chdir(photos)
    done = stage.add(people, model, Path("."))

    assert (done.num_added, done.num_known, len(done.left_out)) == (1, 4, 2)
    assert seen == ["Ann/3.png", "Ann/dark.png", "Bob/broken.jpg"]
    assert gallery_upkeep.list_people(people).names == {"Ann": 3, "Bob": 1, "Cy": 1}


def embedding_of(people: Path, source: str) -> np.ndarray:
    with Gallery(people) as gallery:
        [(entries, embeddings)] = gallery.read()
    return embeddings[[entry.source for entry in entries].index(source)]


def test_a_photo_whose_bytes_changed_is_told_and_replaced_when_asked(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    people = tmp_path / "people"
    stage.add(people, model, photos, fields=["year=2001"])
    before = {e.source: e for e in gallery_upkeep.list_entries(people).photos}
    old, kept = embedding_of(people, "Ann/1.png"), embedding_of(people, "Bob/1.png")
    write_photo(photos / "Ann" / "1.png", picture(8))

    told = stage.add(people, model, photos)
    assert (told.num_added, told.num_known, told.num_replaced) == (0, 4, 0)
    assert told.changed == ["Ann/1.png"]
    assert (
        "  1 photos have changed since they were enrolled, they stay as they were "
        "enrolled; embed them again with --replace: Ann/1.png"
    ) in told.lines()
    np.testing.assert_array_equal(embedding_of(people, "Ann/1.png"), old)

    done = stage.add(people, model, photos, replaces=True)
    assert (done.num_added, done.num_replaced, done.num_embeddings) == (0, 1, 4)
    anew = stage.add(tmp_path / "other", model, photos)
    assert anew.changed == []
    np.testing.assert_allclose(
        embedding_of(people, "Ann/1.png"),
        embedding_of(tmp_path / "other", "Ann/1.png"),
        atol=1e-6,
    )
    np.testing.assert_array_equal(embedding_of(people, "Bob/1.png"), kept)
    after = {e.source: e for e in gallery_upkeep.list_entries(people).photos}
    assert after["Ann/1.png"].id == before["Ann/1.png"].id
    assert after["Ann/1.png"].fields == {"year": 2001}
    assert stage.add(people, model, photos).changed == []

    # One that has no face any more stays as it was enrolled.
    write_photo(photos / "Ann" / "2.png", np.zeros((112, 96, 3), np.uint8))
    failed = stage.add(people, model, photos, replaces=True)
    assert (failed.changed, failed.num_replaced) == (["Ann/2.png"], 0)
    assert failed.left_out["Ann/2.png"] == "no face found"
    assert failed.num_embeddings == 4


def test_photos_in_a_tar_and_crops_in_a_store_are_known_by_their_bytes(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    for seed, num_changed in [(1, 0), (1, 0), (8, 1)]:
        write_photo(photos / "Ann" / "1.png", picture(seed))
        with tarfile.open(tmp_path / "photos.tar", "w") as tar:
            for photo in ("Ann/1.png", "Bob/1.png"):
                tar.add(photos / photo, photo)
        done = stage.add(tmp_path / "people", model, tmp_path / "photos.tar")
        assert len(done.changed) == num_changed


def test_a_gallery_that_kept_no_digests_takes_its_photos_for_known(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    people = tmp_path / "people"
    stage.add(people, model, photos)
    with Gallery(people, load_model(model).fingerprint) as gallery:
        for entry in gallery.entries():
            origin = gallery.origin(entry.id)
            assert origin is not None
            assert origin.digest is not None
            place = replace(origin, digest=None)
            gallery.replace([entry.id], np.ones((1, 16)), [place])
    write_photo(photos / "Ann" / "1.png", picture(8))
    done = stage.add(people, model, photos)
    assert (done.num_added, done.num_known, done.changed) == (0, 4, [])


def test_one_photo_under_several_names_is_told(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    people = tmp_path / "people"
    assert stage.add(people, model, photos).alike == []
    # Another file of the same bytes, and the same file under another name.
    (photos / "Bob" / "7.png").write_bytes((photos / "Ann" / "1.png").read_bytes())
    done = stage.add(people, model, photos)
    assert done.alike == [[("Ann", "Ann/1.png"), ("Bob", "Bob/7.png")]]
    assert any("Ann/1.png of Ann and Bob/7.png of Bob" in line for line in done.lines())
    again = stage.add(people, model, photos / "Cy.png", name="Dee")
    assert again.alike == [[("Cy", "Cy.png"), ("Dee", "Cy.png")]]


def test_photos_with_several_faces_are_counted_and_the_face_is_chosen(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    two = np.concatenate([picture(5), picture(6)], axis=1)
    write_photo(photos / "Ann" / "two.png", two)
    write_photo(tmp_path / "left.png", picture(5))
    write_photo(tmp_path / "right.png", picture(6))
    for face, side in [("largest", "right"), ("best", "left")]:
        people = tmp_path / face
        done = stage.add(people, model, photos, face=face)
        assert done.several == {"Ann/two.png": 2}
        assert (
            "  several faces on 1 photo, enrolled is the one by --face "
            f"{face}: Ann/two.png (2)"
        ) in done.lines()
        [[match]] = search(people, model, tmp_path / f"{side}.png", k=1)
        assert (match.source, match.cosine > 0.999) == ("Ann/two.png", True)


def test_search_answers_for_everybody_on_a_photo(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    people = tmp_path / "people"
    stage.add(people, model, photos)
    # The larger face is Bob's.
    two = np.concatenate([picture(1), picture(3)], axis=1)
    group = write_photo(tmp_path / "groups" / "two.png", two)
    dark = write_photo(tmp_path / "groups" / "dark.png", picture(1) * 0)
    for asked in (group, group.parent):
        found = gallery_search.search(people, model, asked, face="all", k=1)
        names = {source: match.name for source, [match] in found.found.items()}
        assert names == {"two.png": "Bob", "two.png#2": "Ann"}
    assert found.failed == {dark.name: "no face found"}
    for face, name in [("largest", "Bob"), ("best", "Ann")]:
        for asked in (group, group.parent):
            assert search(people, model, asked, face=face, k=1)[0][0].name == name
    one = gallery_search.search(people, model, group, face="best")
    assert one.lines()[0] == f"{group}: the clearest of 2 faces"
    assert one.to_dict()["face"] == "best"


@pytest.mark.usefixtures("types_unchecked")
def test_an_unknown_face_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(ParameterError, match=r"face must be one of .* got 'all'"):
        stage.add(nowhere, nowhere, nowhere, face="all")
    with pytest.raises(ParameterError, match=r"all, got 'smallest'"):
        gallery_search.search(nowhere, nowhere, nowhere, face="smallest")


def test_without_a_threshold_nobody_is_named(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    people = tmp_path / "people"
    stage.add(people, model, photos)
    found = gallery_search.search(people, model, photos / "Ann")
    assert "nearest" in str(found)
    assert "this is" not in str(found)
    assert [each["name"] for each in found.to_dict()["photos"]] == [None, None]


def test_a_single_photo_needs_a_name(tmp_path: Path, model: Path, photos: Path) -> None:
    people = tmp_path / "people"
    with pytest.raises(ParameterError, match=r"1\.png: whose photo .* --name NAME"):
        stage.add(people, model, photos / "Bob" / "1.png")
    with pytest.raises(ParameterError, match="name must not be empty, got ' '"):
        stage.add(people, model, photos / "Bob" / "1.png", name=" ")
    assert not people.exists()

    stage.add(people, model, photos / "Bob" / "1.png", name="Robert")
    stage.add(people, model, photos / "Ann", name="Anna")

    assert gallery_upkeep.list_people(people).names == {"Anna": 2, "Robert": 1}


def test_photos_of_the_same_name_in_other_folders_are_others(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    people = tmp_path / "people"
    stage.add(people, model, photos / "Ann" / "1.png", name="Ann")
    done = stage.add(people, model, photos / "Bob" / "1.png", name="Ann")
    assert (done.num_added, done.num_known) == (1, 0)


def test_the_largest_face_is_enrolled_and_searched(tmp_path: Path, model: Path) -> None:
    people = tmp_path / "people"
    left, right = picture(1), picture(2)
    both = write_photo(tmp_path / "both.png", np.hstack([left, right]))
    stage.add(people, model, write_photo(tmp_path / "left.png", left), name="Left")
    stage.add(people, model, write_photo(tmp_path / "right.png", right), name="Right")
    stage.add(people, model, both, name="Both")

    one = gallery_search.search(people, model, tmp_path / "right.png")
    assert one.to_dict()["num_faces"] == 1
    two = gallery_search.search(people, model, both)
    assert two.lines()[0] == f"{both}: the most prominent of 2 faces"
    for found in (one, two):
        [matches] = found.found.values()
        assert {match.name for match in matches[:2]} == {"Right", "Both"}


def test_enrolls_a_crop_store(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listing = [("Ann/1.png", "Ann"), ("Ann/2.png", "Ann"), ("M\udcfc/1.png", "M\udcfc")]
    with CropWriter(tmp_path / "crops", {}, listing) as writer:
        for seed, (source, _) in enumerate(listing):
            if seed == 1:
                writer.fail(source, "no face found")
            else:
                unknown = np.full((1, 5, 2), np.nan)
                writer.add(source, picture(seed)[None], unknown, np.array([np.nan]))
        writer.commit()
        writer.finish()
    people = tmp_path / "people"

    done = stage.add(people, model, tmp_path / "crops")

    assert (done.num_added, done.left_out) == (2, {})
    assert "1 photos have no crop in this store" in caplog.text
    assert str(tmp_path / "crops" / "failures.csv") in caplog.text
    # The byte that is not UTF-8 is spelled out.
    assert gallery_upkeep.list_people(people).names == {"Ann": 1, "M\\xfc": 1}
    photo = write_photo(tmp_path / "query.png", picture(2)[:, :, ::-1])
    [[best, _]] = search(people, model, photo)
    assert best.source == "M\\xfc/1.png"
    assert stage.add(people, model, tmp_path / "crops").num_known == 2


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_photo_names_that_are_not_text_are_spelled_out(
    tmp_path: Path, model: Path
) -> None:
    photo = write_photo(tmp_path / "photo.png", picture(1))
    folder = tmp_path / "photos" / "J\udcf6rg"
    folder.mkdir(parents=True)
    photo.rename(folder / "1.png")

    stage.add(tmp_path / "people", model, tmp_path / "photos")

    assert gallery_upkeep.list_people(tmp_path / "people").names == {"J\\xf6rg": 1}


def test_says_whether_a_match_is_above_the_threshold(
    tmp_path: Path, photos: Path
) -> None:
    model = write_model(
        tmp_path / "strict.safetensors", threshold=0.9999, threshold_far=1e-3
    )
    people = tmp_path / "people"
    stage.add(people, model, photos)

    found = gallery_search.search(people, model, photos / "Cy.png", k=2)
    facts = found.to_dict()
    assert (facts["threshold"], facts["threshold_far"]) == (0.9999, 1e-3)
    assert (facts["known"], facts["name"]) == (True, "Cy")
    assert [row["same"] for row in facts["matches"]] == [True, False]
    text = str(found)
    assert "its only face" in text
    assert "same person" in text
    assert "This is Cy." in text
    assert "cosine above 0.9999, chosen for a false accept rate of 0.001" in text


def test_says_that_there_is_no_threshold(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    people = tmp_path / "people"
    stage.add(people, model, photos / "Cy.png", name="[bold]Cy[/x]")

    found = gallery_search.search(people, model, photos / "Cy.png")
    facts = found.to_dict()
    assert (facts["threshold"], facts["matches"][0]["same"]) == (None, None)
    assert "[bold]Cy[/x]" in str(found)
    assert "No threshold is set" in str(found)
    assert "same person" not in str(found)


def test_a_threshold_is_not_for_means(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    people = tmp_path / "people"
    stage.add(people, model, photos)
    with Gallery(people) as gallery:
        gallery.set_threshold(Threshold(0.6522, "fpir", 0.01, 4))
    for asked in (photos / "Cy.png", photos):
        found = gallery_search.search(people, model, asked, by="mean")
        assert found.to_dict()["threshold"] is None
        assert found.lines()[-1] == (
            "The threshold 0.6522 is for single photos, not for means: these are the "
            "nearest, whoever it is; --by best judges."
        )
        assert "same person" not in str(found)
        by_best = gallery_search.search(people, model, asked, by="best")
        assert "Same person: cosine above 0.6522" in str(by_best)
    with Gallery(people) as gallery:
        gallery.set_threshold(None)
    found = gallery_search.search(people, model, photos / "Cy.png", by="mean")
    assert "No threshold is set" in str(found)


def test_list_and_info(tmp_path: Path, model: Path, photos: Path) -> None:
    people = tmp_path / "people"
    stage.add(people, model, photos)
    names = {"Ann": 2, "Bob": 1, "Cy": 1}
    assert gallery_upkeep.list_people(people).to_dict() == names
    assert "Ann" in gallery_upkeep.list_people(people).lines()[3]
    facts = gallery_upkeep.info(people)
    found = facts.to_dict()
    assert (found["num_embeddings"], found["num_people"]) == (4, 3)
    assert found["model_details"]["mirror"] == "sum"
    assert found["model_fingerprint"] == load_model(model).fingerprint
    assert found["model_fingerprint"][:20] in str(facts)
    audited = gallery_upkeep.info(people, audit=True)
    assert "num_queries" in str(audited)
    assert "candidates" not in str(audited)
    listed = gallery_upkeep.list_entries(people, names=["Ann"], fields=["x=1"])
    assert listed.photos == []
    with pytest.raises(NotEnrolledError, match="nobody is enrolled as 'Nobody'"):
        gallery_upkeep.list_entries(people, names=["Ann", "Nobody"])


def test_a_gallery_of_another_model_is_refused(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    people = tmp_path / "people"
    stage.add(people, model, photos)
    other = write_model(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(MismatchError, match="was made for model"):
        stage.add(people, other, photos)
    with pytest.raises(MismatchError, match="was made for model"):
        gallery_search.search(people, other, photos / "Cy.png")


def test_wrong_paths_and_photos(tmp_path: Path, model: Path, photos: Path) -> None:
    people, nothing = tmp_path / "people", tmp_path / "nothing"
    for wrong in (
        lambda: stage.add(people, model, nothing),
        lambda: stage.add(people, model, tmp_path / "no.jpg", name="Ann"),
        lambda: stage.add(people, nothing, photos),
        lambda: stage.add(photos, model, photos),
        lambda: stage.add(model, model, photos),
        lambda: gallery_search.search(nothing, model, photos / "Cy.png"),
        lambda: gallery_upkeep.list_people(photos),
        lambda: gallery_upkeep.info(nothing),
    ):
        with pytest.raises(FileError):
            wrong()
    assert not people.exists()
    assert not nothing.exists()

    with pytest.raises(GalleryError, match="no face could be enrolled"):
        stage.add(people, model, photos / "Ann" / "dark.png", name="Ann")
    with pytest.raises(GalleryError, match="nobody is enrolled yet"):
        gallery_search.search(people, model, photos / "Cy.png")
    stage.add(people, model, photos)
    with pytest.raises(FileError, match=r"no photos at .*no\.jpg: no such file"):
        gallery_search.search(people, model, tmp_path / "no.jpg")
    with pytest.raises(DataError, match=r"no face found in .*dark\.png"):
        gallery_search.search(people, model, photos / "Ann" / "dark.png")
    with pytest.raises(ParameterError, match="k must be at least 1"):
        gallery_search.search(people, model, photos / "Cy.png", k=0)


def test_what_was_enrolled_before_a_kill_is_not_done_again(
    tmp_path: Path, model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = tmp_path / "people"
    monkeypatch.setattr("facever.gallery.enrollment.PhotoFaces.batch", 2)
    add, num_batches = Gallery.add, 0

    def interrupted(self: Gallery, *values: object) -> list[str]:
        nonlocal num_batches
        num_batches += 1
        if num_batches == 2:
            raise KeyboardInterrupt
        return add(self, *values)

    monkeypatch.setattr(Gallery, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stage.add(people, model, photos)
    assert gallery_upkeep.list_people(people).names == {"Ann": 2}

    done = stage.add(people, model, photos)

    assert (done.num_added, done.num_known) == (2, 2)


def test_shows_no_path_of_this_machine(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    people = tmp_path / "people"
    stage.add(people, model, photos.resolve())
    stage.add(people, model, (photos / "Cy.png").resolve(), name="Cyrus")
    found = gallery_search.search(people, model, photos / "Cy.png")
    assert str(tmp_path) not in as_json(found.to_dict())
    entries = gallery_upkeep.list_entries(people)
    assert len(entries.photos) == 5
    assert str(tmp_path) not in str(entries) + as_json(entries.to_dict())
    for out in (tmp_path / "out.parquet", tmp_path / "out"):
        gallery_exchange.export(people, out)
        files = [out] if out.is_file() else [*out.iterdir()]
        assert not any(str(tmp_path).encode() in file.read_bytes() for file in files)
    with Gallery(people) as gallery:
        [cy] = gallery.entries(Filter(["Cyrus"]))
        assert cy.source == "Cy.png"
        assert gallery.origin(cy.id) == Origin(str((photos / "Cy.png").resolve()))


def test_a_photo_of_the_same_name_in_another_folder_is_not_taken_for_known(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    people = tmp_path / "people"
    stage.add(people, model, photos / "Ann" / "1.png", name="Ann")
    other = write_photo(tmp_path / "other" / "1.png", picture(7))

    for num_added in (1, 0):
        done = stage.add(people, model, other, name="Ann")
        assert (done.num_added, done.num_known) == (num_added, 1 - num_added)
        told = [line for line in done.lines() if "1.png as 1.png~2" in line]
        assert (len(told), len(done.renamed)) == (num_added, num_added)
    with Gallery(people) as gallery:
        assert [entry.source for entry in gallery.entries()] == ["1.png", "1.png~2"]

    # A folder that was moved holds the same photos still.
    (photos / "Ann").rename(photos / "Anna")
    done = stage.add(people, model, photos / "Anna" / "1.png", name="Ann")
    assert (done.num_added, done.num_known, done.left_out) == (0, 1, {})


def test_a_photo_of_a_common_name_is_another_even_if_the_first_is_gone(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    """As photos that a camera numbers anew, brought in one by one and then removed."""
    people = tmp_path / "people"
    first = write_photo(tmp_path / "a" / "1.png", picture(1))
    stage.add(people, model, first, name="Ann")
    kept = embedding_of(people, "1.png")
    first.unlink()
    second = write_photo(tmp_path / "b" / "1.png", picture(2))
    done = stage.add(people, model, second, name="Ann", replaces=True)
    assert (done.num_added, done.changed, done.num_replaced) == (1, [], 0)
    assert done.renamed == {"1.png": "1.png~2"}
    np.testing.assert_array_equal(embedding_of(people, "1.png"), kept)
    assert not np.allclose(embedding_of(people, "1.png~2"), kept)
    # In its own place it has changed.
    write_photo(tmp_path / "b" / "1.png", picture(3))
    done = stage.add(people, model, second, name="Ann")
    assert (done.num_added, done.changed) == (0, ["1.png"])
    # Wherever it is moved to, it is known by its bytes.
    moved = write_photo(tmp_path / "c" / "1.png", picture(2))
    done = stage.add(people, model, moved, name="Ann")
    assert (done.num_added, done.changed, done.num_embeddings) == (0, [], 2)


def test_searches_many_photos_at_once(tmp_path: Path, photos: Path) -> None:
    model = write_model(tmp_path / "s.safetensors", threshold=0.9999, threshold_far=0.1)
    people = tmp_path / "people"
    stage.add(people, model, photos / "Ann", name="Ann", fields=["team=red", "age=7"])
    stage.add(people, model, photos / "Bob", name="Bob")

    search_of_all = gallery_search.search(people, model, photos, k=2)

    found, answers = search_of_all.found, search_of_all.to_dict()
    assert list(found) == ["Ann/1.png", "Ann/2.png", "Bob/1.png", "Cy.png"]
    assert [row["name"] for row in answers["photos"]] == ["Ann", "Ann", "Bob", None]
    assert [row["known"] for row in answers["photos"]] == [True, True, True, False]
    assert set(answers["failed"]) == {"Ann/dark.png", "Bob/broken.jpg"}
    assert found["Ann/2.png"][0].fields == {"team": "red", "age": 7}
    assert "nobody" in str(search_of_all)
    assert "  no answer for Ann/dark.png: no face found" in search_of_all.lines()
    [matches] = search(people, model, photos / "Cy.png", fields=["age=7"], by="best")
    assert [match.name for match in matches] == ["Ann"]


def test_embeddings_of_a_file_need_no_model(tmp_path: Path) -> None:
    file = tmp_path / "e.npz"
    vectors = np.eye(3, dtype=np.float32)
    np.savez(file, embeddings=vectors, images=["Ann/1.jpg", "Bob/1.jpg", "Cy.jpg"])
    people = tmp_path / "people"
    done = stage.add(people, None, file)
    assert done.num_added == 3
    assert gallery_upkeep.list_people(people).names == {"Ann": 1, "Bob": 1, "Cy": 1}
    found = gallery_search.search(people, None, file)
    assert [m[0].name for m in found.found.values()] == ["Ann", "Bob", "Cy"]
    assert "nearest, whoever it is" in str(found)
    np.savez(file, embeddings=vectors, images=["a", "b", "c"], model_fingerprint="f")
    only = "of an unknown model, so it can only be searched, or added to, with an .npz"
    with pytest.raises(MismatchError, match=only):
        stage.add(people, None, file)
    # Without a name it is the ready model, of which this gallery is not.
    with pytest.raises(MismatchError, match=only):
        gallery_search.search(people, None, write_photo(tmp_path / "x.png", picture(1)))


def test_what_is_not_there_is_said_before_a_model_is_loaded(
    tmp_path: Path, model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = tmp_path / "people"
    stage.add(people, model, photos)
    monkeypatch.delattr("facever.stages.gallery.faces.load")
    for look in (
        partial(gallery_search.search, people, model),
        partial(stage.add, people, model, name="Ann"),
    ):
        with pytest.raises(FileError, match="no such file or folder"):
            look(tmp_path / "nope.jpg")


def test_embeddings_that_do_not_say_their_model_are_told_how(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    people, file = tmp_path / "people", tmp_path / "e.npz"
    stage.add(people, model, photos)
    np.savez(file, embeddings=np.eye(16, dtype=np.float32)[:1], images=["Ann/1.png"])
    fingerprint = load_model(model).fingerprint[:12]
    for named in (None, model):
        for look in (stage.add, gallery_search.search):
            with pytest.raises(MismatchError, match=r"whose (embeddings )?these") as e:
                look(people, named, file)
            assert f"of model {fingerprint}" in str(e.value)
            assert "facever embed writes an .npz that says it" in str(e.value)
            assert "--model" not in str(e.value)
            assert "migrate" not in str(e.value)


def test_embeddings_are_checked_before_their_names(tmp_path: Path) -> None:
    people, file = tmp_path / "people", tmp_path / "e.npz"
    images = ["Ann/1.jpg", "Bob/1.jpg", "Cy.jpg"]
    vectors = np.eye(3, dtype=np.float32)
    np.savez(file, embeddings=vectors, images=images)
    stage.add(people, None, file)
    np.savez(file, embeddings=np.ones((3, 2)), images=images)
    with pytest.raises(MismatchError, match="have 3 numbers, got 2"):
        stage.add(people, None, file)
    vectors[1] = 0
    np.savez(file, embeddings=vectors, images=images)
    for look in (stage.add, gallery_search.search):
        with pytest.raises(DataError) as caught:
            look(people, None, file)
        assert str(caught.value).startswith(
            f"{file}: embedding 1 of 3 (Bob/1.jpg) is all zero or not finite"
        )


def test_a_search_among_nobody_says_so(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    people = tmp_path / "people"
    stage.add(people, model, photos, fields=["team=red"])
    photo = next(photos.rglob("*.png"))
    search = partial(gallery_search.search, people, model, photo)
    assert search(fields=["team=red"]).matches
    for limits, words in (
        ({"names": ["Nemo", "Zoe"]}, "of Nemo or Zoe; "),
        ({"fields": ["team=blue"]}, "of team=blue; "),
        ({"names": ["Ann"], "fields": ["a=1"]}, "of Ann with a=1; "),
    ):
        with pytest.raises(GalleryError, match=words):
            search(**limits)


def test_changes_by_id_and_by_name(
    tmp_path: Path, model: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = tmp_path / "people"
    stage.create(people, model=model)
    stage.add(people, model, photos)
    [bob] = gallery_upkeep.list_entries(people, names=["Bob"]).photos
    update, remove = gallery_upkeep.update, gallery_upkeep.remove
    changes = [
        update(people, [bob.id], new_name="Robert", fields=["age=3"]),
        update(people, name="Ann", new_name="Anna", fields=["age=4", "x=y"]),
        update(people, name="Anna", fields=["x=null"]),
    ]
    assert [change.num_updated for change in changes] == [1, 2, 2]
    ages = {
        entry.name: entry.fields for entry in gallery_upkeep.list_entries(people).photos
    }
    assert ages == {"Anna": {"age": 4}, "Robert": {"age": 3}, "Cy": {}}
    assert len(gallery_upkeep.list_entries(people, fields=["age=4"]).photos) == 2
    removals = [remove(people, [bob.id]), remove(people, name="Anna")]
    assert [(r.num_removed, r.num_left) for r in removals] == [(1, 3), (2, 1)]
    assert gallery_upkeep.list_people(people).names == {"Cy": 1}
    capsys.readouterr()
    checked = gallery_upkeep.verify(people)
    assert "verify: 1 embeddings in" in capsys.readouterr().err
    assert checked.to_dict() == {"gallery": str(people), "num_embeddings": 1}
    assert "1 embeddings, all well" in str(checked)
    for wrong in (
        lambda: remove(people),
        lambda: remove(people, ["x"], name="Cy"),
        lambda: update(people, new_name="Ann"),
        lambda: update(people, name="Cy"),
        lambda: update(people, name="Cy", fields=["novalue"]),
        lambda: stage.create(tmp_path / "new"),
        lambda: stage.create(tmp_path / "new", model=model, embedding_size=16),
    ):
        with pytest.raises(ParameterError):
            wrong()
    stage.create(tmp_path / "new", embedding_size=16)
    with pytest.raises(GalleryError, match="there is a gallery already"):
        stage.create(tmp_path / "new", embedding_size=16)


@pytest.mark.parametrize("name", ["people.parquet", "folder"])
def test_export_and_import_keep_everything(
    tmp_path: Path,
    model: Path,
    photos: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    people, out, again = (tmp_path / part for part in ("people", name, "again"))
    stage.add(people, model, photos, fields=['quote="a, b\\n"', "n=1.5", "who=Zoë"])
    assert gallery_exchange.export(people, out).num_embeddings == 4
    assert gallery_exchange.import_entries(out, again).num_embeddings == 4
    assert "import: 4 embeddings in" in capsys.readouterr().err
    with Gallery(people) as one, Gallery(again) as other:
        [(entries, embeddings)], [(copied, copies)] = one.read(), other.read()
        assert copied == entries
        assert copies.tobytes() == embeddings.tobytes()
        assert one.info().model_details == other.info().model_details
        assert one.info().model_fingerprint == other.info().model_fingerprint
    with Gallery(people) as gallery:
        gallery.set_threshold(Threshold(0.6522, "fpir", 0.01, 4))
        gallery.rebuild("sq8")
    kept = tmp_path / f"kept-{name}"
    gallery_exchange.export(people, kept)
    moved = gallery_exchange.import_entries(kept, tmp_path / "our copy")
    assert moved.lines()[1:] == [
        "  its threshold is 0.6522, as exported",
        "  the index is exact, and was sq8 before; gallery rebuild --index makes "
        "another",
        "  an export does not say where photos lie: gallery migrate cannot embed these "
        "faces again, and gallery add takes their photos for unchanged",
    ]
    with Gallery(tmp_path / "our copy") as gallery:
        assert gallery.threshold() == Threshold(0.6522, "fpir", 0.01, 4)
        # What has a threshold, or people, of its own keeps to that.
        gallery.remove([entry.id for entry in gallery.entries()])
        gallery.set_threshold(Threshold(0.7, "fpir", 0.01, 4))
    moved = gallery_exchange.import_entries(kept, tmp_path / "our copy")
    assert "threshold 0.6522 is left out: the gallery has people, or" in str(moved)
    with Gallery(tmp_path / "our copy", load_model(model).fingerprint) as gallery:
        assert gallery.info().threshold == Threshold(0.7, "fpir", 0.01, 4)
        gallery.set_threshold(None)
        gallery.remove_person("Ann")
        [(entries, units)] = Gallery(people).read()
        ann = [entry.name == "Ann" for entry in entries]
        theirs = [entry for entry in entries if entry.name == "Ann"]
        assert not gallery.insert(theirs, units[ann], Threshold(0.6, "far", 0.1, 4))
        assert gallery.threshold() is None
    with pytest.raises(GalleryError, match="is enrolled already; import into a new"):
        gallery_exchange.import_entries(out, again)
    stage.create(tmp_path / "unbound", embedding_size=16)
    with pytest.raises(MismatchError, match="embeddings of an unknown model"):
        gallery_exchange.import_entries(out, tmp_path / "unbound")


def test_refuses_what_is_no_export(tmp_path: Path, photos: Path) -> None:
    people = tmp_path / "people"
    stage.create(people, embedding_size=2)
    empty = tmp_path / "empty"
    assert gallery_exchange.export(people, empty).num_embeddings == 0
    imported = gallery_exchange.import_entries(empty, tmp_path / "new")
    assert imported.num_embeddings == 0
    np.save(empty / "embeddings.npy", np.ones((1, 2), np.float32))
    (tmp_path / "text.parquet").write_text("hello")
    for path, kind, message in [
        (tmp_path / "nothing", FileError, "no such export"),
        (photos, FileError, "cannot be read"),
        (tmp_path / "text.parquet", DataError, "not an export of a gallery"),
        (empty, DataError, "0 entries and 1 embeddings"),
    ]:
        with pytest.raises(kind, match=message):
            gallery_exchange.import_entries(path, people)


def test_exports_of_before_and_with_a_wrong_threshold(tmp_path: Path) -> None:
    people, out = tmp_path / "people", tmp_path / "out"
    stage.create(people, embedding_size=2)
    gallery_exchange.export(people, out)
    about = json.loads((out / "gallery.json").read_text())
    for wrong, message in (
        ({"threshold": {"cosine": 2, "rule": "far", "rate": 0.1}}, "a threshold is a"),
        ({"threshold": "0.5"}, "a threshold is a cosine"),
        ({"index": 3}, "the kind of index is text, got 3"),
    ):
        (out / "gallery.json").write_text(json.dumps(about | wrong))
        with pytest.raises(DataError, match=message) as caught:
            gallery_exchange.import_entries(out, tmp_path / "new")
        assert "\n" not in str(caught.value)
    before = {key: about[key] for key in about if key not in ("threshold", "index")}
    (out / "gallery.json").write_text(json.dumps(before))
    found = gallery_exchange.import_entries(out, tmp_path / "new")
    assert (found.threshold, found.exported_index) == (None, None)
    assert len(found.lines()) == 2


def write_store(folder: Path) -> Path:
    with CropWriter(folder, {}, [("Di/1.png", "Di"), ("Di/2.png", "Di")]) as writer:
        for number in (1, 2):
            unknown = np.full((1, 5, 2), np.nan)
            crop = picture(50 + number)[None]
            writer.add(f"Di/{number}.png", crop, unknown, np.array([np.nan]))
        writer.commit()
        writer.finish()
    return folder


def test_migrate_is_as_enrolling_anew(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    people, store = tmp_path / "our people", write_store(tmp_path / "crops")
    stage.add(people, model, photos, fields=["team=red"])
    stage.add(people, model, store)
    other = write_model(tmp_path / "other.safetensors", seed=1, mirror="concat")
    before = gallery_upkeep.list_entries(people).photos
    with Gallery(people, load_model(model).fingerprint) as reader:
        reader.set_threshold(Threshold(0.5, "far", 1e-3, 6))
        reader.search(np.ones((1, 16)))

        done = gallery_migrate.migrate(people, other)
        assert done.old_threshold == Threshold(0.5, "far", 1e-3, 6)
        assert done.lines()[-1] == (
            "the threshold 0.5000 was the old model's and is removed: choose one with "
            f"facever gallery threshold '{people}' --far 0.001"
        )

        with pytest.raises(MismatchError, match="gallery migrate"):
            reader.search(np.ones((1, 16)))
    assert gallery_upkeep.list_entries(people).photos == before
    assert gallery_upkeep.verify(people).num_embeddings == 6
    stage.add(tmp_path / "anew", other, photos)
    stage.add(tmp_path / "anew", other, store)
    with Gallery(people) as one, Gallery(tmp_path / "anew") as anew:
        [(_, embeddings)], [(_, expected)] = one.read(), anew.read()
        np.testing.assert_allclose(embeddings, expected, atol=1e-6)
        assert one.info().threshold is None
        assert one.info().model_details == anew.info().model_details
        assert one.info().embedding_size == 32
    [matches] = search(people, other, photos / "Cy.png", k=1)
    assert matches[0].name == "Cy"
    with pytest.raises(GalleryError, match="of this model already"):
        gallery_migrate.migrate(people, other)


def test_migrate_changes_nothing_unless_all_faces_are_there(
    tmp_path: Path, model: Path, photos: Path
) -> None:
    people, store = tmp_path / "people", write_store(tmp_path / "crops")
    stage.add(people, model, photos)
    stage.add(people, model, store)
    other = write_model(tmp_path / "other.safetensors", seed=1)
    with Gallery(people, load_model(model).fingerprint) as gallery:
        gallery.add(["Eve"], np.ones((1, 16)), ["eve.jpg"])
        [*before] = gallery.read()
    (photos / "Cy.png").unlink()
    (store / "crops.npy").unlink()

    with pytest.raises(
        GalleryError, match=r"4 of 7 faces .* nothing was changed; "
    ) as caught:
        gallery_migrate.migrate(people, other)

    message = str(caught.value)
    assert "Eve, eve.jpg: it was enrolled as an embedding" in message
    assert "Cy, Cy.png: cannot be opened" in message
    assert message.count("its file or store is gone") == 2
    assert message.endswith(
        "; 1 of them were enrolled as embeddings and never can be; bring the photos "
        "back, or leave these faces behind with --drop-missing"
    )
    with Gallery(people) as gallery:
        [*after] = gallery.read()
    assert [entries for entries, _ in after] == [entries for entries, _ in before]
    assert after[0][1].tobytes() == before[0][1].tobytes()

    found = gallery_migrate.migrate(people, other, drop_missing=True)
    assert (found.num_embedded, len(found.dropped)) == (3, 4)
    assert found.dropped["Eve, eve.jpg"] == "it was enrolled as an embedding"
    assert found.lines()[-1] == f"{people}: 3 faces embedded again, 4 dropped"
    assert gallery_upkeep.list_people(people).names == {"Ann": 2, "Bob": 1}


def test_migrate_of_embeddings_alone_asks_for_no_photos(
    tmp_path: Path, model: Path
) -> None:
    people = tmp_path / "people"
    np.savez(tmp_path / "e.npz", embeddings=np.eye(2, 16), images=["Ann.jpg", "B.jpg"])
    stage.add(people, None, tmp_path / "e.npz")
    for drop_missing in (False, True):
        with pytest.raises(GalleryError) as caught:
            gallery_migrate.migrate(people, model, drop_missing=drop_missing)
        assert str(caught.value).endswith(
            "nothing was changed; 2 of them were enrolled as embeddings and never can "
            "be; enroll photos into a new gallery"
        )


def test_rebuild_and_audit_by_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited_for: list[str] = []

    def waiting(what: str) -> AbstractContextManager[None]:
        waited_for.append(what)
        return nullcontext()

    monkeypatch.setattr(gallery_upkeep, "waiting", waiting)
    people = tmp_path / "people"
    stage.create(people, embedding_size=8, index="auto")
    file = tmp_path / "e.npz"
    vectors = np.random.default_rng(0).normal(size=(1100, 8)).astype(np.float32)
    np.savez(file, embeddings=vectors, images=[f"P{row}/1.jpg" for row in range(1100)])
    stage.add(people, None, file)
    assert gallery_upkeep.rebuild(people).index_in_use == "exact"
    rebuilt = gallery_upkeep.rebuild(people, index="sq8")
    assert rebuilt.lines() == [
        f"{people}: 1,100 faces, index sq8",
        "of 200 enrolled photos, looked up among the others, it finds the nearest of "
        "100.0%",
    ]
    waited_for.clear()
    facts = gallery_upkeep.info(people, audit=True).to_dict()
    assert waited_for == ["comparing the index with exact search"]
    assert (facts["index"], facts["num_queries"], facts["k"]) == ("sq8", 200, 10)
    assert facts["recall_at_1"] == 1


@pytest.mark.parametrize(
    ("kind", "count", "in_use", "words"),
    [
        ("hnsw", 3, "exact", "hnsw, from 1,024 faces on; exact until then"),
        ("ivf-pq", 1023, "exact", "ivf-pq, from 1,024 faces on; exact until then"),
        ("hnsw", 1024, "hnsw", "hnsw"),
        ("auto", 3, "exact", "auto, now exact"),
        ("auto", 1024, "exact", "auto, now exact"),
        ("exact", 3, "exact", "exact"),
    ],
)
def test_rebuild_info_and_search_tell_of_one_index(
    tmp_path: Path, kind: str, count: int, in_use: str, words: str
) -> None:
    people = tmp_path / "people"
    stage.create(people, embedding_size=8)
    vectors = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    images = [f"P{row}/1.jpg" for row in range(count)]
    np.savez(tmp_path / "e.npz", embeddings=vectors, images=images)
    stage.add(people, None, tmp_path / "e.npz")

    rebuilt = gallery_upkeep.rebuild(people, index=kind)
    told = gallery_upkeep.info(people)
    with Gallery(people) as gallery:
        searched = gallery._searcher.refreshed().index.kind

    facts = told.to_dict()
    assert (facts["index"], facts["index_in_use"]) == (kind, in_use)
    assert (rebuilt.index, rebuilt.index_in_use) == (kind, in_use)
    assert searched == in_use
    assert rebuilt.lines()[0] == f"{people}: {count:,} faces, index {words}"
    assert (rebuilt.audit is None) == (in_use == "exact")
    assert len(rebuilt.lines()) == 1 + (in_use != "exact")


def test_an_index_that_misses_much_is_said_to() -> None:
    found = gallery_upkeep.GalleryIndex(
        "people", "hnsw", "hnsw", 1_000_000, Audit(200, 10, 0.27, 0.25)
    )
    line, advice = found.lines()[1:]
    assert line.endswith("it finds the nearest of 27.0%")
    assert "--index exact" in advice
    # A gallery of one photo has nothing to look up.
    alone = replace(found, audit=Audit(0, 0, 1.0, 1.0))
    assert len(alone.lines()) == 1


def test_every_source_of_photos_can_be_enrolled_searched_and_migrated(
    tmp_path: Path, model: Path
) -> None:
    """A CSV list and a tar file give what a folder gives, and so does a move."""
    names = {"Ann": 1, "Bob": 2}
    folder = tmp_path / "photos"
    for name, seed in names.items():
        write_photo(folder / name / "1.png", picture(seed))
    lines = [f"{name}/1.png,{name}" for name in names]
    (folder / "list.csv").write_text("\n".join(["source,identity", *lines]) + "\n")
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for name in names:
            tar.add(folder / name / "1.png", f"{name}/1.png")
    enrolled = []
    for source in (folder, folder / "list.csv", tmp_path / "photos.tar"):
        people = tmp_path / f"gallery-{source.name}"
        done = stage.add(people, model, source)
        assert (done.num_added, done.left_out) == (2, {})
        with Gallery(people) as gallery:
            [(_, embeddings)] = gallery.read()
        enrolled.append(embeddings)
        np.testing.assert_array_equal(embeddings, enrolled[0])
        for asked in (folder, tmp_path / "photos.tar"):
            answers = gallery_search.search(people, model, asked).found
            assert {s: m[0].name for s, m in answers.items()} == {
                "Ann/1.png": "Ann",
                "Bob/1.png": "Bob",
            }
        other = write_model(tmp_path / "other.safetensors", seed=1)
        moved = gallery_migrate.migrate(people, other)
        assert (moved.num_embedded, moved.dropped) == (2, {})


def test_frames_of_videos_are_enrolled_searched_and_migrated(
    tmp_path: Path, model: Path, write_video: Callable[..., Path]
) -> None:
    folder = tmp_path / "photos"
    for name, seed in {"Ann": 1, "Bob": 2}.items():
        write_video(folder / name / "clip.avi", [picture(seed)] * 6)
    people = tmp_path / "gallery"
    done = stage.add(people, model, folder, frames="every:5")
    assert (done.num_added, done.left_out) == (4, {})
    again = stage.add(people, model, folder, frames="every:5")
    assert (again.num_added, again.num_known, again.changed) == (0, 4, [])
    clip = folder / "Bob" / "clip.avi"
    found = gallery_search.search(people, model, clip, frames="first:2").found
    assert {source: matches[0].name for source, matches in found.items()} == {
        "clip.avi/000001.jpg": "Bob",
        "clip.avi/000002.jpg": "Bob",
    }
    other = write_model(tmp_path / "other.safetensors", seed=1)
    moved = gallery_migrate.migrate(people, other)
    assert (moved.num_embedded, moved.dropped) == (4, {})
    with pytest.raises(ParameterError, match=r"clip\.avi: whose video is this\?"):
        stage.add(people, other, clip)
    assert stage.add(people, other, clip, name="Cy", frames="first:1").num_added == 1


def people_in(gallery: Path) -> dict[str, str]:
    """Who is enrolled by which photo."""
    with Gallery(gallery) as people:
        return {entry.source: entry.name for entry in people.entries()}


def test_who_is_on_photos_is_asked_and_said(tmp_path: Path, model: Path) -> None:
    folder = tmp_path / "photos"
    for seed, name in enumerate(
        ["train/Ann/1.png", "test/Ann/2.png", "test/Bob/3.png"]
    ):
        write_photo(folder / name, picture(seed))
    people = tmp_path / "gallery"
    with pytest.raises(
        DataError, match=r"train/ would be 2 people .* --identity parent"
    ):
        stage.add(people, model, folder)
    assert not people.exists()
    done = stage.add(people, model, folder, identity="parent")
    expected = {
        "train/Ann/1.png": "Ann",
        "test/Ann/2.png": "Ann",
        "test/Bob/3.png": "Bob",
    }
    assert people_in(people) == expected
    assert "  2 people in 3 photos; 1 person has one photo" in done.lines()
    # One person on all of them, and a search, ask nobody.
    assert stage.add(tmp_path / "one", model, folder, name="Cy").num_people == 1
    assert len(gallery_search.search(people, model, folder).found) == 3
    with pytest.raises(ParameterError, match="either --name or --identity, got 'Cy'"):
        stage.add(people, model, folder, name="Cy", identity="top")
    with pytest.raises(DataError, match="finds nobody in test/Ann/2"):
        stage.add(people, model, folder, identity="([a-z]+)_")


def test_who_is_in_a_store_or_a_file_of_embeddings_goes_by_path_when_asked(
    tmp_path: Path, model: Path
) -> None:
    store = write_store(tmp_path / "store")
    stage.add(tmp_path / "of-store", model, store, identity=r"/(\d)\.")
    assert people_in(tmp_path / "of-store") == {"Di/1.png": "1", "Di/2.png": "2"}
    file = tmp_path / "e.npz"
    images = np.array(["train/Ann/1.png", "train/Bob/2.png"])
    np.savez(file, embeddings=np.eye(2, 16, dtype=np.float32), images=images)
    stage.add(tmp_path / "of-file", None, file, identity="parent")
    assert people_in(tmp_path / "of-file") == {
        "train/Ann/1.png": "Ann",
        "train/Bob/2.png": "Bob",
    }
