"""Whatever bit flips in a gallery's database is found, or changes nothing."""

import random
import shutil
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facever.errors import FaceverError, FileError
from facever.gallery.entries import Match, Origin
from facever.gallery.folder.database import DATABASE_NAME
from facever.gallery.folder.gallery import Gallery
from facever.gallery.meta import Threshold

PEOPLE, DIM = 60, 512
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


def found(folder: Path) -> list[Match]:
    with Gallery(folder, "a" * 64) as gallery:
        return gallery.search(QUERY, k=5)[0]


def test_400_flipped_bits_are_found_or_change_nothing(
    sound: Path, tmp_path: Path
) -> None:
    database = tmp_path / "people" / DATABASE_NAME
    shutil.copytree(sound, tmp_path / "people")
    original, enrolled, best = database.read_bytes(), content(sound), found(sound)
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
        if flip % 8:
            continue
        # A search looks at less, but what it says of a person is what was enrolled.
        with suppress(FaceverError):
            for match in found(tmp_path / "people"):
                assert match in best or match.cosine < best[-1].cosine, (place, bit)
    assert len(messages) > 150, "a great part of the file is content"
    assert not any("\n" in message for message in messages)


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
