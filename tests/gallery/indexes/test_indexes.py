"""Every kind of index in a file, through changes and damage."""

import itertools
import logging
import re
import struct
import zlib
from pathlib import Path
from typing import get_args

import faiss
import numpy as np
import pytest

from facever.choices import FolderIndexKind
from facever.errors import ParameterError
from facever.gallery.entries import Filter, Match
from facever.gallery.folder import index_building, index_rows, searching
from facever.gallery.folder.gallery import Gallery
from facever.gallery.folder.index_file import INDEX_NAME
from facever.gallery.indexes import INDEXES, Index
from facever.gallery.indexes.exact import ExactIndex
from facever.gallery.indexes.index import choose_kind

SIZE = 16


@pytest.fixture(autouse=True)
def _always_by_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small galleries are searched by their index, and it has a file, too."""
    monkeypatch.setattr(searching, "_FEW", 20)
    monkeypatch.setattr(index_building, "_MIN_EXACT_IN_FILE", 1024)
    monkeypatch.setattr(index_rows, "FEW", 20)


def people(count: int, seed: int = 0) -> np.ndarray:
    """Photos around 200 directions, as faces are."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(200, SIZE))
    return centers[np.arange(count) % 200] + 0.4 * rng.normal(size=(count, SIZE))


def fill(gallery: Gallery, count: int, seed: int = 0) -> list[str]:
    names = [f"P{row % 200}" for row in range(count)]
    sources = [f"{seed}-{row}" for row in range(count)]
    flags = [{"odd": row % 2 == 1} for row in range(count)]
    return gallery.add(names, people(count, seed), sources, flags)


def agreement(found: list[list[Match]], expected: list[list[Match]]) -> float:
    """Share of the expected matches that were found."""
    shares = [
        len({match.id for match in one} & {match.id for match in other}) / len(other)
        for one, other in zip(found, expected, strict=True)
    ]
    return float(np.mean(shares))


@pytest.mark.parametrize("kind", INDEXES)
def test_finds_nearly_what_exact_search_finds_after_every_change(
    tmp_path: Path, kind: str
) -> None:
    queries, numbers = people(40, seed=5), itertools.count()
    with Gallery.create(tmp_path / "people", SIZE, index=kind) as gallery:
        ids = fill(gallery, 1500)

        def check(least: float) -> None:
            exact = Gallery.create(tmp_path / f"exact{next(numbers)}", SIZE)
            for entries, units in gallery.read():
                exact.insert(entries, units)
            for options in (
                {},
                {"by": "best"},
                {"by": "mean", "k": 1},
                {"where": Filter(fields={"odd": True})},
                {"where": Filter(["P7", "P8"])},
            ):
                found = gallery.search(queries, **options)
                expected = exact.search(queries, **options)
                assert agreement(found, expected) >= least, options
            exact.close()

        check(1 if kind == "exact" else 0.9)
        assert gallery._searcher.refreshed().index.kind == kind
        assert (tmp_path / "people" / INDEX_NAME).exists()
        nearest = [matches[0].id for matches in gallery.search(queries)]
        gallery.remove(sorted({*nearest, *ids[:200]}))
        gallery.update_person("P9", "P10")
        fill(gallery, 100, seed=1)
        assert not {m.id for one in gallery.search(queries) for m in one} & {*nearest}
        check(1 if kind == "exact" else 0.9)
    with Gallery(tmp_path / "people") as gallery:
        check(1 if kind == "exact" else 0.9)
        audit = gallery.audit(num_queries=50, k=5)
        assert (audit.num_queries, audit.k) == (50, 5)
        assert audit.recall_at_1 >= 0.95
        assert audit.recall_at_k >= 0.9


@pytest.mark.parametrize("kind", ["sq8", "ivf-pq"])
def test_cosines_of_compressed_indexes_are_exact(tmp_path: Path, kind: str) -> None:
    queries = people(10, seed=5)
    with Gallery.create(tmp_path / "people", SIZE, index=kind) as gallery:
        fill(gallery, 1100)
        unit_of = {
            e.id: unit
            for entries, units in gallery.read()
            for e, unit in zip(entries, units, strict=True)
        }
        for query, matches in zip(queries, gallery.search(queries), strict=True):
            cosine = [unit_of[m.id] @ query / np.linalg.norm(query) for m in matches]
            assert [m.cosine for m in matches] == pytest.approx(cosine, abs=1e-6)


@pytest.mark.parametrize("kind", INDEXES)
def test_an_index_file_is_read_again_and_not_built(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gallery.create(tmp_path / "people", SIZE, index=kind) as gallery:
        ids = fill(gallery, 1100)
        gallery.search(people(5))  # Writes the file.
        gallery.remove(ids[-3:])
        fill(gallery, 30, seed=1)
        before = gallery.search(people(5))

    def fail(*_: object) -> None:
        raise AssertionError("was built again")

    monkeypatch.setattr(index_building, "_trained", fail)
    monkeypatch.setattr(index_building, "_mapped", fail)
    with Gallery(tmp_path / "people") as gallery:
        assert gallery.search(people(5)) == before
        with pytest.raises(AssertionError, match="was built again"):
            gallery.rebuild()


def test_an_exact_index_is_mapped_and_what_is_added_goes_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_building, "_UNSAVED", 200)
    folder = tmp_path / "people"
    with Gallery.create(folder, SIZE) as gallery:
        fill(gallery, 1000)
        gallery.search(people(1))
        assert not (folder / INDEX_NAME).exists()
        fill(gallery, 100, seed=1)  # Enough to be written.
        for number in (1, 2, 3):
            assert_all_are_found(gallery)
            written = (folder / INDEX_NAME).stat().st_size
            fill(gallery, 150, seed=1 + number)
    assert written > 4 * SIZE * 1400
    with Gallery(folder) as gallery:
        assert_all_are_found(gallery)
        index = gallery._searcher.refreshed().index
        first = next(index._rows.blocks(0, 1, 1))[1]
        while isinstance(first.base, np.ndarray):
            first = first.base
        assert isinstance(first, np.memmap)


def assert_all_are_found(gallery: Gallery) -> None:
    for entries, units in gallery.read():
        for entry, [match] in zip(entries, gallery.search(units, k=1), strict=True):
            assert (match.id, match.cosine) == (entry.id, pytest.approx(1, abs=1e-6))


@pytest.mark.parametrize("kind", ["exact", "sq8"])
def test_where_no_index_can_be_written_it_is_kept_in_memory_once(
    tmp_path: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(index_building, "_UNSAVED", 200)
    with Gallery.create(tmp_path / "people", SIZE, index=kind) as gallery:
        fill(gallery, 1100)
        # Nobody may replace a folder by a file, whoever runs this test.
        (tmp_path / "people" / INDEX_NAME).mkdir()
        for _ in range(2):
            assert_all_are_found(gallery)
    assert not list((tmp_path / "people").glob("*.partial"))
    messages = [record.getMessage() for record in caplog.records]
    assert [m for m in messages if "built again at every start" in m] == messages[-1:]


def test_a_handle_that_takes_to_the_file_of_another_finds_what_the_file_lacks(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "people"
    with Gallery.create(folder, SIZE, index="sq8") as one, Gallery(folder) as other:
        fill(one, 100)
        other.search(people(1))  # in memory now, exact: so few
        fill(one, 1000, seed=1)
        one.search(people(1))  # writes the file
        late = fill(one, 30, seed=2)
        [matches] = other.search(people(1), k=2000)
        assert not isinstance(other._searcher.refreshed().index, ExactIndex)
        assert len(matches) == 1130
        assert {*late} <= {match.id for match in matches}


def test_an_index_emptied_and_filled_again_is_of_its_kind_again(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "people", SIZE, index="sq8") as gallery:
        ids = fill(gallery, 1100)
        gallery.search(people(1))
        gallery.remove(ids[:1050])
        gallery.search(people(1))
        assert isinstance(gallery._searcher.refreshed().index, ExactIndex)
        fill(gallery, 1100, seed=1)
        [matches] = gallery.search(people(1), k=2000)
        assert len(matches) == 1150
        assert not isinstance(gallery._searcher.refreshed().index, ExactIndex)


@pytest.mark.parametrize("kind", ["exact", "sq8"])
@pytest.mark.parametrize(
    "damage", ["cut", "cut to a line", "changed", "empty", "text", "list", "of another"]
)
def test_a_damaged_index_file_is_built_again_and_said(
    tmp_path: Path, kind: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Gallery.create(tmp_path / "people", SIZE, index=kind) as gallery:
        fill(gallery, 1100)
        before = gallery.search(people(5))
    file = tmp_path / "people" / INDEX_NAME
    good = file.read_bytes()
    changed = bytearray(good)
    changed[len(good) // 2] ^= 0x40
    other = tmp_path / "other"
    if damage == "of another":
        with Gallery.create(other, SIZE, index=kind) as gallery:
            fill(gallery, 1100, seed=3)
            gallery.search(people(1))
    bad = {
        "cut": good[: len(good) // 2],
        "cut to a line": good[: good.index(b"\n") + 1],
        "changed": bytes(changed),
        "empty": b"",
        "text": b"hello\n",
        "list": b"[1]\n",
        "of another": (other / INDEX_NAME).read_bytes() if other.exists() else b"",
    }[damage]
    file.write_bytes(bad)
    with caplog.at_level(logging.WARNING), Gallery(tmp_path / "people") as gallery:
        assert gallery.search(people(5)) == before
    if damage != "of another":
        assert "is damaged" in caplog.text
        assert "built again" in caplog.text
    assert file.read_bytes()[:40] == good[:40]


def written_anew(file: Path, old: bytes, new: bytes) -> None:
    """Replace something in an index file, whose checksum is right again."""
    content = file.read_bytes()[:-4]
    assert content.count(old) == 1
    content = content.replace(old, new)
    file.write_bytes(content + struct.pack("<I", zlib.crc32(content)))


@pytest.mark.parametrize(
    ("kind", "old", "new", "said"),
    [
        ("sq8", f"faiss {faiss.__version__}", "faiss 1.2.3", "written by faiss 1.2.3"),
        ("sq8", '"num_rows": 1100', '"num_rows": []', "is damaged"),
        ("sq8", '"newest": [1100,', '"newest": [{},', "is damaged"),
        ("sq8", "IxSQ", "Junk", "faiss refuses it: .*not recognized"),
        ("hnsw", "IHNf", "IHNs", "faiss refuses it|it is a IndexHNSWSQ"),
    ],
)
def test_an_index_file_of_another_faiss_is_built_again_and_said(
    tmp_path: Path,
    kind: str,
    old: str,
    new: str,
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Gallery.create(tmp_path / "people", SIZE, index=kind) as gallery:
        fill(gallery, 1100)
        before = gallery.search(people(5))
    file = tmp_path / "people" / INDEX_NAME
    good = file.read_bytes()
    pad = " " * (len(old) - len(new))  # the header's length stays
    written_anew(file, old.encode(), (new + pad).encode())
    with caplog.at_level(logging.WARNING), Gallery(tmp_path / "people") as gallery:
        assert gallery.search(people(5)) == before
    [line] = [message for message in caplog.messages if "built again" in message]
    assert re.search(said, line)
    assert "\n" not in line
    assert file.read_bytes()[:200] == good[:200]


@pytest.mark.parametrize("kind", ["exact", "sq8"])
@pytest.mark.parametrize("change", ["fewer added", "as many added", "some removed"])
def test_an_index_of_another_state_of_the_database_is_not_used(
    tmp_path: Path, kind: str, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A copy is put in the database's place."""
    folder = tmp_path / "people"
    with Gallery.create(folder, SIZE, index=kind) as gallery:
        ids = fill(gallery, 1200)
    copy = (folder / "gallery.sqlite").read_bytes()
    with Gallery(folder) as gallery:
        if change == "some removed":
            gallery.remove(ids[7:20])
        else:
            fill(gallery, 50, seed=2)
        gallery.search(people(1))
    for path in folder.glob("gallery.sqlite*"):
        path.unlink()
    (folder / "gallery.sqlite").write_bytes(copy)
    with Gallery(folder) as gallery:
        if change != "some removed":
            fill(gallery, 20 if change == "fewer added" else 50, seed=4)
        assert_all_are_found(gallery)
    assert "of another state" in caplog.text


def test_the_table_and_the_choices_name_the_same_kinds() -> None:
    assert {*INDEXES, "auto"} == set(get_args(FolderIndexKind))
    assert {kind: made.kind for kind, made in INDEXES.items()} == {
        k: k for k in INDEXES
    }


@pytest.mark.parametrize("kind", INDEXES)
def test_an_index_is_made_from_its_parts_and_scores_all_rows_if_exact(
    kind: str,
) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1100, SIZE)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = INDEXES[kind].train(rows, len(rows))
    index.add(rows)
    again = INDEXES[kind].from_parts(joined(index), SIZE)
    assert (len(index), len(again)) == (1100, 1100)
    if index.exact:
        expected = rows[:3].astype(float) @ rows.astype(float).T
        for one in (index, again):
            for scores in (one.scores(rows[:3]), Index.scores(one, rows[:3])):
                np.testing.assert_allclose(scores, expected, atol=1e-6)


def joined(index: Index) -> np.ndarray:
    parts = b"".join(part.tobytes() for part in index.parts())
    return np.frombuffer(parts, np.uint8)


def test_kinds_are_chosen_by_hand_or_by_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_kind("auto", 1000) == "exact"
    assert choose_kind("auto", 10**6) == "sq8"
    assert choose_kind("hnsw", 1024) == "hnsw"
    assert choose_kind("hnsw", 1023) == "exact"
    with pytest.raises(ParameterError, match=r"index must be one of auto, .* got"):
        Gallery.create(tmp_path / "people", 2, index="lsh")
    with Gallery.create(tmp_path / "people", SIZE) as gallery:
        fill(gallery, 100)
        # Too few to learn from.
        assert gallery.rebuild("ivf-pq") == "exact"
        fill(gallery, 1200, seed=1)
        with Gallery(tmp_path / "people") as other:
            before = other.search(people(3))
        assert gallery.rebuild() == "ivf-pq"
        assert gallery.info().index == "ivf-pq"
        assert (tmp_path / "people" / INDEX_NAME).exists()
        assert gallery.rebuild("exact") == "exact"
        assert (tmp_path / "people" / INDEX_NAME).exists()
        assert agreement(before, gallery.search(people(3))) > 0.9
        gallery.remove_person("P1")
        monkeypatch.setattr(index_building, "_MIN_EXACT_IN_FILE", 10**6)
        assert gallery.rebuild() == "exact"
        assert not (tmp_path / "people" / INDEX_NAME).exists()


def test_memory_is_read_anew_when_most_is_removed(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "people", SIZE) as gallery:
        ids = fill(gallery, 2500)
        gallery.search(people(1))
        gallery.remove(ids[:1500])
        gallery.search(people(1))
        assert len(gallery._searcher.refreshed().index) == 1000


def test_the_audit_tells_what_a_poor_index_misses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gallery.create(tmp_path / "people", SIZE, index="ivf-pq") as gallery:
        fill(gallery, 1500)
        monkeypatch.setattr(searching, "_OVERSAMPLING", 1)
        monkeypatch.setattr(searching, "_LEAST_CANDIDATES", 1)
        poor = gallery.audit(num_queries=100, k=10)
        gallery.rebuild("exact")
        assert poor.recall_at_k < 0.9
        best = gallery.audit(num_queries=100, k=10)
        assert (best.recall_at_1, best.recall_at_k) == (1, 1)
