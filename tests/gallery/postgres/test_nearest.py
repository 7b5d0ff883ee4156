"""Many queries at once: what is compared here is what the server would have found."""

import struct
from collections.abc import Callable, Iterator

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facever.errors import FileError
from facever.gallery.base import AnyGallery
from facever.gallery.entries import Filter, Match
from facever.gallery.opening import create_gallery, open_gallery
from facever.gallery.postgres import searching
from facever.gallery.postgres.nearest import NearestPhotos
from facever.gallery.postgres.rows import read_copied
from facever.gallery.postgres.server import Server, parse_address

COUNT = 60
SIZE = 8


def draw(count: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((count, SIZE))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 99),
    st.integers(1, 12),
    st.lists(st.integers(0, 5), min_size=1, max_size=40),
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
)
def test_the_nearest_of_all_blocks_are_found_in_the_order_of_their_numbers(
    seed: int, k: int, which: list[int], sizes: list[int]
) -> None:
    """Few different embeddings, so that many photos are equally near."""
    units = draw(3, seed)
    embeddings = draw(6, seed + 1)[which]
    numbers = np.random.default_rng(seed).permutation(len(which))
    nearest = NearestPhotos(units, k)
    start = 0
    for size in (*sizes, len(which)):
        block = slice(start, start + size)
        nearest.compare(numbers[block], embeddings[block])
        start += size
    for unit, found in zip(units, nearest.numbers(), strict=True):
        scores = [float(unit @ draw(6, seed + 1)[each]) for each in range(6)]
        order = sorted(range(len(which)), key=lambda i: (-scores[which[i]], numbers[i]))
        assert found == [numbers[each] for each in order[:k]]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9), st.integers(1, 4), st.lists(st.integers(1, 90), max_size=30))
def test_copied_rows_are_read_whatever_pieces_they_come_in(
    count: int, rows_a_block: int, cuts: list[int]
) -> None:
    text = b"PGCOPY\n\xff\r\n\0" + bytes(8)
    for row in range(count):
        text += struct.pack(">hiqihh2f", 2, 8, row - 2, 12, 2, 0, row, -0.5)
    text += struct.pack(">h", -1)
    places = np.cumsum([0, *cuts]).tolist()
    pieces = [text[a:b] for a, b in zip(places, [*places[1:], None], strict=True)]
    server = object.__new__(Server)  # It is needed for its errors alone.
    blocks = list(read_copied(pieces, 2, rows_a_block, server))
    assert all(len(numbers) == rows_a_block for numbers, _ in blocks[:-1])
    read = [n for numbers, _ in blocks for n in numbers.tolist()]
    assert read == [row - 2 for row in range(count)]
    values = np.concatenate([units for _, units in blocks])
    assert values.tolist() == [[row, -0.5] for row in range(count)]


@pytest.fixture(scope="module")
def crowd(postgres_server: str) -> Iterator[AnyGallery]:
    """Photos of which many are alike, some of them changed or removed since."""
    units = draw(12, 0)[np.arange(COUNT) % 12]
    # Some differ by the last bit alone.
    units[::5, 0] = np.nextafter(units[::5, 0], np.float32(2))
    with create_gallery(f"{postgres_server}&gallery=crowd", SIZE) as gallery:
        ids = gallery.add(
            [f"P{row % 7}" for row in range(COUNT)],
            units,
            [f"{row}.jpg" for row in range(COUNT)],
            [{"odd": bool(row % 2), "row": row} for row in range(COUNT)],
        )
        gallery.update([ids[3], ids[17]], fields={"moved": True})
        gallery.remove([ids[5], ids[29]])
        yield gallery


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, COUNT + 5),
    st.sampled_from([1, 7, 4096]),
    st.sampled_from([1, 3, 1024]),
    st.sampled_from(
        [
            Filter(),
            Filter(["P1", "P'2\\", "P3"]),
            Filter(fields={"odd": True}),
            Filter(fields={"100%s": "x"}),
            Filter(photos=[("P0", "0.jpg"), ("P1", "1.jpg")]),
        ]
    ),
    st.sampled_from(["photo", "best"]),
)
def test_many_at_once_find_what_each_alone_finds(
    crowd: AnyGallery, k: int, rows: int, queries: int, where: Filter, by: str
) -> None:
    units = np.concatenate([draw(12, 0), draw(6, 1)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "_ROWS_A_BLOCK", rows)
        patch.setattr(searching, "_QUERIES_A_SEARCH", queries)
        found = []
        for least in (10**9, 1):
            patch.setattr(searching, "_COMPARED_HERE_FROM", least)
            found.append(crowd.search(units, k, by, where))
    assert found[0] == found[1]


def test_all_are_compared_in_one_state(
    crowd: AnyGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = draw(20, 1)
    before = crowd.search(units, 3)
    compare = NearestPhotos.compare
    added: list[str] = []

    def compare_and_change(self: NearestPhotos, *block: np.ndarray) -> None:
        if not added:
            with open_gallery(crowd.place) as other:
                added.extend(
                    other.add(["Eve"] * 20, units, [str(i) for i in range(20)])
                )
                other.update_person("P1", fields={"seen": True})
        compare(self, *block)

    monkeypatch.setattr(NearestPhotos, "compare", compare_and_change)
    assert crowd.search(units, 3) == before
    monkeypatch.undo()
    assert [matches[0].name for matches in crowd.search(units, 3)] == ["Eve"] * 20
    crowd.remove(added)


def test_a_comparison_that_is_interrupted_leaves_nothing_open(
    crowd: AnyGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*given: object) -> None:
        raise KeyboardInterrupt

    before = crowd.search(draw(20, 1), 3)
    monkeypatch.setattr(NearestPhotos, "compare", interrupt)
    with pytest.raises(KeyboardInterrupt):
        crowd.search(draw(20, 1), 3)
    monkeypatch.undo()
    assert crowd.search(draw(20, 1), 3) == before
    with open_gallery(crowd.place) as other:
        other.remove(other.add(["Eve"], draw(1, 2), ["1"]))


def test_nobody_is_found_where_nobody_is(
    postgres_place: Callable[[], str],
) -> None:
    with create_gallery(postgres_place(), SIZE) as gallery:
        nothing: list[list[Match]] = [[]] * 20
        assert gallery.search(draw(20, 0), 3) == nothing


@pytest.mark.parametrize("count", [1, 20])
def test_an_embedding_of_another_size_is_damage(
    postgres_place: Callable[[], str], count: int
) -> None:
    with create_gallery(postgres_place(), SIZE) as gallery:
        gallery.add(["Ann", "Bob"], draw(2, 0), ["a.jpg", "b.jpg"])
        with psycopg.connect(parse_address(str(gallery.place)).server) as connection:
            query = "SELECT entries FROM facever.galleries WHERE name = %s"
            [(number,)] = connection.execute(query, (gallery.title,)).fetchall()
            table = f"facever.entries_{number}"
            connection.execute(f"ALTER TABLE {table} ALTER embedding TYPE vector")
            connection.execute(f"UPDATE {table} SET embedding = '[1,0]' WHERE number=2")
        with pytest.raises(FileError, match="the gallery is damaged"):
            gallery.search(draw(count, 0), 1)
