"""Whatever bit flips in a gallery's database is found, or changes nothing."""

import random
import shutil
import struct
from collections import Counter
from contextlib import suppress
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facever.choices import By
from facever.errors import FaceverError, FileError
from facever.gallery.entries import Entry, Match, Origin
from facever.gallery.folder import index_rows, store
from facever.gallery.folder.database import DATABASE_NAME
from facever.gallery.folder.gallery import Gallery
from facever.gallery.meta import Threshold

PEOPLE, DIM = 60, 512
PAGE = 16384
QUERY = np.random.default_rng(1).normal(size=(1, DIM))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "people"
    with Gallery.create(folder, DIM, "a" * 64, {"network": "resnet27"}) as gallery:
        vectors = np.random.default_rng(0).normal(size=(PEOPLE, DIM))
        gallery.add(
            [f"person {row // 2}" for row in range(PEOPLE)],
            vectors,
            [f"{row}.jpg" for row in range(PEOPLE)],
            [{"room": row, "floor": "second"} for row in range(PEOPLE)],
            [Origin(f"/photos/{row}.jpg", None, "d" * 64) for row in range(PEOPLE)],
        )
        gallery.set_threshold(Threshold(0.5, "far", 0.001, PEOPLE))
    return folder


def content(folder: Path) -> Any:
    """All that a gallery keeps, as its own ``verify`` and readers see it."""
    with Gallery(folder, "a" * 64) as gallery:
        gallery.verify()
        rows = [
            (astuple(entry), units[row].tobytes(), gallery.origin(entry.id))
            for entries, units in gallery.read()
            for row, entry in enumerate(entries)
        ]
        return rows, gallery.names(), gallery.info()


def search(folder: Path, by: By = "photo") -> list[Match]:
    with Gallery(folder, "a" * 64) as gallery:
        return gallery.search(QUERY, k=5, by=by)[0]


def all_entries(folder: Path) -> list[Entry]:
    with Gallery(folder, "a" * 64) as gallery:
        return gallery.entries()


def names(folder: Path) -> dict[str, int]:
    with Gallery(folder, "a" * 64) as gallery:
        return gallery.names()


READERS = [search, partial(search, by="best"), partial(search, by="mean")]
READERS += [all_entries, names]


def test_400_flipped_bits_are_found_or_change_nothing(
    sound: Path, tmp_path: Path
) -> None:
    database = tmp_path / "people" / DATABASE_NAME
    shutil.copytree(sound, tmp_path / "people")
    original, enrolled = database.read_bytes(), content(sound)
    answers = [read(sound) for read in READERS]
    rng = random.Random(0)
    messages: list[str] = []
    for flip in range(400):
        place, bit = rng.randrange(len(original)), rng.randrange(8)
        damaged = bytearray(original)
        damaged[place] ^= 1 << bit
        database.write_bytes(damaged)
        try:
            changed = content(tmp_path / "people") != enrolled
        except FaceverError as error:
            messages.append(str(error))
        else:
            assert not changed, (place, bit)
        reader = flip % len(READERS)
        with suppress(FaceverError):
            assert READERS[reader](tmp_path / "people") == answers[reader], (place, bit)
    assert len(messages) > 150, "a great part of the file is content"
    assert not any("\n" in message for message in messages)


def test_every_reader_notices_that_rows_are_hidden(sound: Path, tmp_path: Path) -> None:
    """Damage between the rows: a page of one cell less, or a wrong key to it."""
    database = tmp_path / "people" / DATABASE_NAME
    shutil.copytree(sound, tmp_path / "people")
    original = database.read_bytes()
    answers = [read(sound) for read in READERS]
    places = []
    for page in range(PAGE, len(original), PAGE):
        kind = original[page]
        if kind in (2, 5, 10, 13):  # SQLite's pages of tables and of indexes
            places.append(page + 4)  # their number of cells
        if kind == 5:
            [num_cells] = struct.unpack_from(">H", original, page + 3)
            starts = struct.unpack_from(f">{num_cells}H", original, page + 12)
            places += [page + start + 4 for start in starts]
    refused = Counter[int]()
    for place in places:
        damaged = bytearray(original)
        damaged[place] -= damaged[place] > 0
        database.write_bytes(damaged)
        for reader, read in enumerate(READERS):
            try:
                assert read(tmp_path / "people") == answers[reader], (place, read)
            except FaceverError:
                refused[reader] += 1
    assert min(refused.values()) > 2
    assert len(refused) == len(READERS)


def test_a_large_gallery_compares_the_names_of_its_index_with_what_is_found(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (store, index_rows):
        monkeypatch.setattr(module, "FEW", 0)
    shutil.copytree(sound, tmp_path / "people")
    database = tmp_path / "people" / DATABASE_NAME
    [best, *_] = search(sound)
    original = database.read_bytes()
    in_index = best.name.encode() + best.source.encode()
    assert original.count(in_index) == 2, "name and source stand side by side in both"
    pages = [p for p in range(PAGE, len(original), PAGE) if original[p] == 10]
    [place] = [
        page + found
        for page in pages
        if (found := original[page : page + PAGE].find(in_index)) >= 0
    ]
    damaged = bytearray(original)
    damaged[place] ^= 1
    database.write_bytes(damaged)
    with pytest.raises(FileError, match="4 photos are found where there are 5"):
        search(tmp_path / "people")


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_in_any_column_is_found(
    sound: Path, tmp_path: Path, seed: int
) -> None:
    shutil.copytree(sound, tmp_path / "people")
    database = tmp_path / "people" / DATABASE_NAME
    original = database.read_bytes()
    rng = random.Random(seed)
    with Gallery(sound, "a" * 64) as gallery:
        [entries], [units] = zip(*gallery.read(), strict=True)
    entry = entries[rng.randrange(PEOPLE)]
    unit = units[entries.index(entry)]
    for part in (
        *(entry.id.encode(), entry.source.encode(), entry.added.encode()),
        *(f'"room": {entry.fields["room"]}'.encode(), b'"digest": "ddd'),
        *(unit.tobytes(), b'"cosine": 0.5', b"a" * 64),
    ):
        assert part in original
        damaged = bytearray(original)
        damaged[original.index(part) + len(part) - 1] ^= 1 << rng.randrange(6)
        database.write_bytes(damaged)
        with pytest.raises(FaceverError), Gallery(tmp_path / "people") as gallery:
            gallery.verify()


@pytest.mark.parametrize("part", ["embedding", "entry"])
def test_a_damaged_entry_is_named_and_can_be_removed(
    sound: Path, tmp_path: Path, part: str
) -> None:
    shutil.copytree(sound, tmp_path / "people")
    database = tmp_path / "people" / DATABASE_NAME
    with Gallery(sound, "a" * 64) as gallery:
        [(entries, units)] = gallery.read()
    content = {"embedding": units[7].tobytes(), "entry": b'"room": 7'}[part]
    damaged = database.read_bytes()
    assert damaged.count(content) == 1
    last = damaged.index(content) + len(content) - 1
    database.write_bytes(
        damaged[:last] + bytes([damaged[last] ^ 1]) + damaged[last + 1 :]
    )
    with Gallery(tmp_path / "people", "a" * 64) as gallery:
        with pytest.raises(FileError, match=f"the {part} of '{entries[7].id}'"):
            gallery.verify()
        gallery.remove([entries[7].id])
        assert gallery.verify() == PEOPLE - 1
        [matches] = gallery.search(QUERY, k=PEOPLE)
    assert {match.id for match in matches} == {
        entry.id for entry in entries if entry is not entries[7]
    }
