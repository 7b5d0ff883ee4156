"""The same commands on a folder and on PostgreSQL say the same, but for the place."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Embeddings of twelve photos of four people, as facever embed writes them."""
    generator = np.random.default_rng(0)
    people = generator.standard_normal((4, 16)).repeat(3, axis=0)
    path = tmp_path / "photos.npz"
    np.savez(
        path,
        embeddings=(people + 0.3 * generator.standard_normal((12, 16))).astype("f4"),
        images=[f"P{row // 3}/{row}.jpg" for row in range(12)],
    )
    return path


def test_every_command_takes_either_place(
    command: Callable[..., Any],
    photos: Path,
    tmp_path: Path,
    postgres_place: Callable[[], str],
) -> None:
    def say(place: str, *arguments: object) -> Any:
        finished = command("gallery", arguments[0], place, *arguments[1:], "--json")
        assert finished.code in (None, 0), finished.err
        said = json.loads(finished.out.replace(place, "PLACE"))
        return without_what_differs(said)

    told = []
    for place in (str(tmp_path / "people"), postgres_place()):
        folder = tmp_path / ("exported" + str(len(told)))
        told.append(
            [
                say(place, "create", "--embedding-size", 16),
                say(place, "add", photos),
                say(place, "add", photos),
                say(place, "list"),
                say(place, "search", photos, "-k", 3),
                say(place, "search", photos, "--name", "P1"),
                say(place, "update", "--name", "P1", "--new-name", "Ann"),
                say(place, "update", "--name", "Ann", "--field", "team=red"),
                say(place, "list", "--photos", "--field", "team=red"),
                say(place, "remove", "--name", "P2"),
                say(place, "threshold", "--fpir", 0.2),
                say(place, "info", "--audit"),
                say(place, "verify"),
                say(place, "rebuild"),
                say(place, "export", folder),
            ]
        )
    for mine, other in zip(*told, strict=True):
        assert mine == other
    # And what one exports, the other imports.
    place = postgres_place()
    assert command("gallery", "import", tmp_path / "exported0", place).code in (None, 0)
    assert say(place, "list") == say(str(tmp_path / "people"), "list")
    thresholds = [
        say(p, "info")["threshold"] for p in (place, str(tmp_path / "people"))
    ]
    assert thresholds[0] == thresholds[1] is not None


def test_an_index_that_a_place_does_not_have_is_told_those_that_it_has(
    command: Callable[..., Any], tmp_path: Path, postgres_place: Callable[[], str]
) -> None:
    has = "index must be one of {} for a gallery in {} (--index), got {!r}"
    for place, kinds, title, wrong in (
        (postgres_place(), "exact, hnsw, halfvec", "PostgreSQL", ("sq8", "ivfflat")),
        (
            str(tmp_path / "people"),
            "auto, exact, sq8, ivf-flat, ivf-pq, hnsw",
            "a folder",
            ("halfvec", "ivfflat"),
        ),
    ):
        made = command("gallery", "create", place, "--embedding-size", 16)
        assert made.code in (None, 0)
        create = "gallery", "create", f"{place}new", "--embedding-size", 16
        for index in wrong:
            message = has.format(kinds, title, index)
            assert message in command("gallery", "rebuild", place, "--index", index).err
            assert message in command(*create, "--index", index).err


def without_what_differs(said: Any) -> Any:
    """What is drawn or measured anew in every gallery."""
    if isinstance(said, dict):
        left_out = {"id", "created", "added", "format", "out"}
        return {
            key: without_what_differs(value)
            for key, value in said.items()
            if key not in left_out
        }
    if isinstance(said, list):
        return [without_what_differs(each) for each in said]
    return round(said, 5) if isinstance(said, float) else said
