"""Of a store with planted faults, through the command as people type it."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facever.cleaning.suggestions import CleaningRules
from facever.data.store.crop_store import CropStore
from facever.errors import DataError, FileError, ParameterError
from facever.stages.store.clean import apply_lists, clean_store

PEOPLE, PHOTOS, DIM = 12, 4, 32
RULES = CleaningRules(duplicate=0.999, outlier_far=0.02, alike_far=0.005)


def write_set(
    folder: Path, make_store: Callable[..., Path], people: int, seed: int
) -> tuple[Path, Path, np.ndarray]:
    """A store with four photos of each person, and embeddings around a center each."""
    rng = np.random.default_rng(seed)
    store = make_store(folder, [PHOTOS] * people)
    centers = rng.normal(size=(people, DIM)).repeat(PHOTOS, axis=0)
    vectors = centers + 0.2 * rng.normal(size=centers.shape)
    return store, folder.with_suffix(".npz"), vectors


def save(path: Path, store: Path, vectors: np.ndarray) -> None:
    images = np.array(CropStore.open(store).sources)
    np.savez(path, embeddings=vectors, images=images)


@pytest.fixture
def faulty(tmp_path: Path, make_store: Callable[..., Path]) -> tuple[Path, Path]:
    store, file, vectors = write_set(tmp_path / "set", make_store, PEOPLE, 0)
    vectors[1] = 3 * vectors[0]  # P0 twice
    vectors[9] = vectors[20] + 0.05  # P2 shows P5
    vectors[40:44] = vectors[44:48][::-1] + 0.02  # P10 is P11
    save(file, store, vectors)
    return store, file


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_lists_that_were_edited_are_not_written_over(
    faulty: tuple[Path, Path], tmp_path: Path
) -> None:
    store, embeddings = faulty
    out = tmp_path / "lists"
    clean_store(store, out, embeddings=embeddings, rules=RULES)
    clean_store(store, out, embeddings=embeddings, rules=RULES)  # Not edited: anew.
    path = out / "outliers.csv"
    edited = path.read_text().replace("remove", "keep")
    path.write_text(edited)
    with pytest.raises(DataError, match=r"outliers\.csv has been edited: apply it"):
        clean_store(store, out, embeddings=embeddings, rules=RULES)
    assert path.read_text() == edited
    (out / "cleaning.json").unlink()  # As after a run that was stopped.
    with pytest.raises(DataError, match=r"no whole cleaning\.json: make the lists"):
        apply_lists(store, out, tmp_path / "new")
    clean_store(store, out, embeddings=embeddings, rules=RULES)
    assert path.read_text() != edited


def test_lists_of_a_run_that_was_stopped_are_not_taken_for_edited(
    faulty: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, embeddings = faulty
    out = tmp_path / "lists"
    clean_store(store, out, embeddings=embeddings, rules=RULES)
    before = (out / "duplicates.csv").read_text()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    other = CleaningRules(duplicate=0.5, outlier_far=0.02, alike_far=0.005)
    with monkeypatch.context() as patch:
        patch.setattr("facever.stages.store.clean.draw_groups", stop)
        with pytest.raises(KeyboardInterrupt):
            clean_store(store, out, embeddings=embeddings, rules=other)
    assert (out / "duplicates.csv").read_text() != before
    clean_store(store, out, embeddings=embeddings, rules=RULES)
    assert (out / "duplicates.csv").read_text() == before


def test_planted_faults_are_listed_and_shown(
    faulty: tuple[Path, Path], tmp_path: Path
) -> None:
    store, embeddings = faulty
    out = tmp_path / "lists"
    clean_store(store, out, embeddings=embeddings, rules=RULES)
    doubles = rows_of(out / "duplicates.csv")
    assert {(row["left"], row["right"], row["action"]) for row in doubles} >= {
        ("P0/0.png", "P0/1.png", "remove")
    }
    worst = rows_of(out / "outliers.csv")[0]
    assert worst["source"] == "P2/1.png"
    assert worst["nearest_identity"] == "P5"
    best = rows_of(out / "lookalikes.csv")[0]
    assert (best["left"], best["right"]) == ("P10", "P11")
    assert best["action"] == "keep", "twins look alike, too"
    for name in ("duplicates", "outliers", "lookalikes"):
        assert Image.open(out / f"{name}.png").height > 112
    about = json.loads((out / "cleaning.json").read_text())
    assert about["store"] == CropStore.open(store).fingerprint
    assert -1 < about["outlier_up_to"] < about["alike_above"] < 1


def test_nothing_is_removed_before_apply_and_then_what_the_lists_say(
    faulty: tuple[Path, Path], tmp_path: Path
) -> None:
    store, embeddings = faulty
    out, new = tmp_path / "lists", tmp_path / "new"
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    clean_store(store, out, embeddings=embeddings, rules=RULES)
    text = (out / "lookalikes.csv").read_text()
    edited = [
        line.replace("keep", "merge") if "P10" in line and "P11" in line else line
        for line in text.splitlines()
    ]
    (out / "lookalikes.csv").write_text("\n".join(edited) + "\n")
    apply_lists(store, out, new)
    assert before == {path.name: path.read_bytes() for path in store.iterdir()}
    old, cleaned = CropStore.open(store), CropStore.open(new)
    removed = {row["source"]: row["reason"] for row in rows_of(new / "left_out.csv")}
    assert "near-duplicate of P0/0.png" in removed["P0/1.png"]
    assert "outlier" in removed["P2/1.png"]
    assert set(cleaned.sources) == set(old.sources) - removed.keys()
    assert "P11" not in cleaned.identities
    for row, source in enumerate(cleaned.sources):
        there = old.sources.index(source)
        np.testing.assert_array_equal(cleaned.crops[row], old.crops[there])
        was = old.identity_of(there)
        assert cleaned.identity_of(row) == ("P10" if was == "P11" else was)


def test_people_of_a_test_set_are_found_and_taken_out(
    faulty: tuple[Path, Path], tmp_path: Path, make_store: Callable[..., Path]
) -> None:
    store, embeddings = faulty
    test, file, vectors = write_set(tmp_path / "test", make_store, 3, 9)
    with np.load(embeddings) as ours:
        # P1 is P6 of the set, on other photos.
        vectors[4:8] = ours["embeddings"][24:28] + 0.2 * vectors[:4]
        vectors[8] = ours["embeddings"][12]  # a photo of its P3 under P2
    save(file, test, vectors)
    out, new = tmp_path / "lists", tmp_path / "new"
    clean_store(
        store,
        out,
        embeddings=embeddings,
        test=test,
        test_embeddings=file,
        rules=RULES,
    )
    people = rows_of(out / "overlap.csv")
    assert [(row["identity"], row["test_identity"]) for row in people] == [("P6", "P1")]
    photos = {
        (row["source"], row["test_source"])
        for row in rows_of(out / "overlap_photos.csv")
    }
    assert ("P3/0.png", "P2/0.png") in photos
    apply_lists(store, out, new)
    cleaned = CropStore.open(new)
    assert "P6" not in cleaned.identities
    assert "P3/0.png" not in cleaned.sources
    # Without a test set the lists of the overlap go, they would be applied again.
    clean_store(store, out, embeddings=embeddings, rules=RULES)
    assert not (out / "overlap.csv").exists()
    assert not (out / "overlap.png").exists()


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("outliers.csv", "remove", "delete", ["line 2", "remove or keep", "'delete'"]),
        ("outliers.csv", "P2/1.png", "nobody.png", ["'nobody.png'", "keep"]),
        (
            "outliers.csv",
            "own_cosine",
            "score",
            ["the columns action, own_cosine"],
        ),
        ("duplicates.csv", ",P0\n", "\n", ["line", "expected 6 values"]),
    ],
)
def test_lists_that_were_edited_wrongly(
    faulty: tuple[Path, Path],
    tmp_path: Path,
    name: str,
    old: str,
    new: str,
    words: list[str],
) -> None:
    store, embeddings = faulty
    out = tmp_path / "lists"
    clean_store(store, out, embeddings=embeddings, rules=RULES)
    path = out / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(DataError) as error:
        apply_lists(store, out, tmp_path / "new")
    for word in words:
        assert word in str(error.value)
    assert not (tmp_path / "new").exists()


def test_identities_merged_in_a_circle(
    faulty: tuple[Path, Path], tmp_path: Path
) -> None:
    store, embeddings = faulty
    out = tmp_path / "lists"
    clean_store(store, out, embeddings=embeddings, rules=RULES)
    head = (out / "lookalikes.csv").read_text().splitlines()[0]
    lines = [head, "merge,0.9,a,1,b,1", "merge,0.9,b,1,a,1"]
    (out / "lookalikes.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="merges b into a into b"):
        apply_lists(store, out, tmp_path / "new")


def test_lists_of_another_store(
    faulty: tuple[Path, Path], tmp_path: Path, make_store: Callable[..., Path]
) -> None:
    store, embeddings = faulty
    other, _, _ = write_set(tmp_path / "other", make_store, 2, 1)
    out = tmp_path / "lists"
    clean_store(store, out, embeddings=embeddings, rules=RULES)
    with pytest.raises(DataError, match="lists of another crop store"):
        apply_lists(other, out, tmp_path / "new")
    with pytest.raises(FileError, match="no list of suggestions"):
        apply_lists(store, tmp_path / "empty", tmp_path / "new")


def test_what_embeddings_come_from(faulty: tuple[Path, Path], tmp_path: Path) -> None:
    store, embeddings = faulty
    with pytest.raises(ParameterError, match="either a model or embeddings"):
        clean_store(store, tmp_path / "out")
    with pytest.raises(ParameterError, match="embeddings of the test set"):
        clean_store(store, tmp_path / "out", embeddings=embeddings, test=store)
    few = tmp_path / "few.npz"
    np.savez(few, embeddings=np.ones((1, 3)), images=np.array(["P0/0.png"]))
    with pytest.raises(DataError, match="no embedding of 47 crops"):
        clean_store(store, tmp_path / "out", embeddings=few)


def test_the_command(
    faulty: tuple[Path, Path], tmp_path: Path, command: Callable[..., Any]
) -> None:
    store, embeddings = faulty
    out, new = tmp_path / "lists", tmp_path / "new"
    rules = ["--duplicate", "0.999", "--outlier-far", "0.02", "--alike-far", "0.005"]
    found = command("data", "clean", store, out, "--embeddings", embeddings, *rules)
    assert found.code == 0
    assert f"{out / 'outliers.csv'}: 1 suggestions" in found.out
    again = command(
        "data", "clean", store, out, "--embeddings", embeddings, *rules, "--json"
    )
    assert json.loads(again.out) == {
        "out": str(out),
        "suggestions": {"duplicates.csv": 5, "outliers.csv": 1, "lookalikes.csv": 1},
    }
    done = command("data", "clean", store, out, "--apply", new)
    assert done.code == 0
    assert "removed, each with its reason in" in done.out
    assert (new / "left_out.csv").exists()
