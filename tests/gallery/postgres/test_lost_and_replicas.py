"""Searches whose connection is lost in their midst, and searches of a replica."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import psycopg
import pytest

from facever.errors import FaceverError, FileError, GalleryError, ParameterError
from facever.gallery.base import AnyGallery
from facever.gallery.entries import Filter
from facever.gallery.meta import Threshold
from facever.gallery.opening import create_gallery, open_gallery
from facever.gallery.postgres import gallery as gallery_module
from facever.gallery.postgres import searching
from facever.gallery.postgres.nearest import NearestPhotos
from facever.gallery.postgres.server import Server, parse_address

END = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE application_name = 'facever'"
)


def draw(count: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((count, dim))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def end_connections(place: object) -> None:
    with psycopg.connect(parse_address(str(place)).server) as connection:
        connection.execute(END)


@pytest.fixture
def filled(postgres_place: Callable[[], str]) -> Iterator[AnyGallery]:
    with create_gallery(postgres_place(), 8) as gallery:
        names = [f"P{row % 10}" for row in range(40)]
        gallery.add(names, draw(40), [f"{row}.jpg" for row in range(40)])
        gallery.set_threshold(Threshold(0.9, "far", 1e-3, 40))
        yield gallery


QUESTIONS: dict[str, Callable[[AnyGallery], object]] = {
    "search of one": lambda gallery: gallery.search(draw(1, seed=1)),
    "search of many": lambda gallery: gallery.search(draw(20, seed=1)),
    "people": lambda gallery: gallery.search(draw(2, seed=1), 3, "mean"),
    "identify": lambda gallery: gallery.identify(draw(3)),
    "info": lambda gallery: gallery.info(),
    "entries": lambda gallery: gallery.entries(Filter(["P1"])),
    "names": lambda gallery: gallery.names(),
    "threshold": lambda gallery: gallery.threshold(),
    "len": len,
    "find": lambda gallery: gallery.find("P1", "1.jpg"),
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_a_question_is_asked_again_wherever_it_was_lost(
    filled: AnyGallery,
    monkeypatch: pytest.MonkeyPatch,
    question: Callable[[AnyGallery], object],
) -> None:
    before = question(filled)
    ask, copy_out = Server.ask, Server.copy_out
    asked = 0
    lost_at = 0

    def count_and_lose(self: Server) -> None:
        nonlocal asked
        if self.address.place == filled.place:
            asked += 1
            if asked == lost_at:
                end_connections(filled.place)

    def lose_and_ask(self: Server, *given: Any) -> Any:
        count_and_lose(self)
        return ask(self, *given)

    def lose_and_copy(self: Server, *given: Any) -> Any:
        count_and_lose(self)
        return copy_out(self, *given)

    monkeypatch.setattr(Server, "ask", lose_and_ask)
    monkeypatch.setattr(Server, "copy_out", lose_and_copy)
    question(filled)
    for lost_at in range(1, asked + 1):
        asked = 0
        assert question(filled) == before
        assert asked > lost_at, "it was asked again"


@pytest.mark.parametrize("count", [1, 20])
def test_a_search_that_is_lost_every_time_is_one_line(
    filled: AnyGallery, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    as_units = searching.as_query if count == 1 else NearestPhotos.compare
    times = 0

    def lose(*given: Any) -> Any:
        nonlocal times
        times += 1
        end_connections(filled.place)
        return as_units(*given)

    if count == 1:
        monkeypatch.setattr(searching, "as_query", lose)
    else:
        monkeypatch.setattr(NearestPhotos, "compare", lose)
    with pytest.raises(FileError, match="does not answer, or not any more") as caught:
        filled.search(draw(count))
    assert "\n" not in str(caught.value)
    assert times == 2
    monkeypatch.undo()
    assert len(filled.search(draw(count))) == count


@pytest.mark.parametrize("times", [1, 2])
def test_a_rebuild_that_is_lost_after_building_says_so(
    filled: AnyGallery, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """It asks again once; lost every time, the graph is there and is searched."""
    choose, num_lost = gallery_module.enough_candidates, 0

    def lose(*given: Any) -> int:
        nonlocal num_lost
        if num_lost < times:
            num_lost += 1
            end_connections(filled.place)
        choose(*given)
        return 700

    monkeypatch.setattr(gallery_module, "enough_candidates", lose)
    if times == 1:
        filled.rebuild("hnsw")
    else:
        with pytest.raises(FileError, match=r"is built, .* stays 200; rebuild it") as e:
            filled.rebuild("hnsw")
        assert "nothing was changed" not in str(e.value)
        assert "\n" not in str(e.value)
    assert num_lost == times
    assert filled.info().index_in_use == "hnsw"
    assert filled.audit().candidates == (700 if times == 1 else 200)


def test_a_connection_lost_while_all_is_read_does_no_harm(
    postgres_place: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More embeddings than the network keeps on their way."""
    monkeypatch.setattr(searching, "_ROWS_A_BLOCK", 100)
    compare, is_lost = NearestPhotos.compare, False

    def lose_once(self: NearestPhotos, *block: np.ndarray) -> None:
        nonlocal is_lost
        if not is_lost:
            is_lost = True
            end_connections(place)
        compare(self, *block)

    place = postgres_place()
    units = draw(4000, 1024)
    with create_gallery(place, 1024) as gallery:
        gallery.add([f"P{i}" for i in range(4000)], units, ["1.jpg"] * 4000)
        monkeypatch.setattr(NearestPhotos, "compare", lose_once)
        found = gallery.search(units[-20:], 1)
        assert is_lost
        assert [each.name for [each] in found] == [f"P{i}" for i in range(3980, 4000)]


def test_what_the_server_ends_for_others_is_asked_again(
    filled: AnyGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a replica does, which has to catch up."""
    before = filled.search(draw(1))
    ask, times, most = Server.ask, 0, 1

    def conflict(self: Server, *given: Any) -> Any:
        nonlocal times
        if len(given) == 2 and times < most:  # Within the search, not before it.
            times += 1
            with self.as_facever_errors():
                raise psycopg.errors.SerializationFailure("conflict with recovery")
        return ask(self, *given)

    monkeypatch.setattr(Server, "ask", conflict)
    assert filled.search(draw(1)) == before
    times, most = 0, 2
    with pytest.raises(GalleryError, match="in favour of others"):
        filled.search(draw(1))
    assert times == 2


def test_a_server_that_is_gone_is_not_waited_for_again_and_again(
    filled: AnyGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = 0

    def refuse(self: Server) -> Any:
        nonlocal times
        times += 1
        raise psycopg.OperationalError("no route")

    end_connections(filled.place)
    monkeypatch.setattr(Server, "_connect", refuse)
    for _ in range(2):
        times = 0
        with pytest.raises(FileError, match="does not answer"):
            filled.search(draw(1))
        assert times <= 2
    monkeypatch.undo()
    assert filled.search(draw(1))


class TestReaders:
    @pytest.mark.parametrize(
        ("url", "theirs"),
        [
            (
                "postgresql://ann@h:1/db?gallery=a%26b&readers=r1:5,r2&sslmode=require",
                "postgresql://ann@r1:5,r2/db?sslmode=require&gallery=a%26b",
            ),
            (
                "postgresql:///db?host=/a&port=1&target_session_attrs=read-write"
                "&gallery=g&readers=/b,[::1]:5",
                "postgresql://%2Fb,[::1]:5/db?gallery=g",
            ),
        ],
    )
    def test_are_other_hosts_of_the_same_database(self, url: str, theirs: str) -> None:
        found = parse_address(url)
        assert found.readers == theirs
        assert "readers" not in found.server
        again = parse_address(theirs)
        assert (again.gallery, again.readers) == (found.gallery, None)

    @pytest.mark.parametrize("readers", ["readers=", "readers=a&readers=b"])
    def test_that_are_none_are_refused(self, readers: str) -> None:
        with pytest.raises(ParameterError, match="readers in a gallery's URL must be"):
            open_gallery(f"postgresql://h/db?gallery=a&{readers}")

    def test_that_do_not_answer_are_named(self, filled: AnyGallery) -> None:
        place = f"{filled.place}&readers=127.0.0.1:1"
        with open_gallery(place) as gallery:
            assert len(gallery) == 40
            gallery.add(["Ann"], draw(1), ["a.jpg"])
            with pytest.raises(FileError, match=r"127.0.0.1:1/.*does not answer"):
                gallery.search(draw(1))
        with pytest.raises(GalleryError, match="was closed"):
            gallery.search(draw(1))

    def test_a_replica_is_searched_and_lags_behind(
        self,
        start_postgres: Callable[..., AbstractContextManager[Any]],
        running_postgres: Any,
        postgres_place: Callable[[], str],
    ) -> None:
        with start_postgres(copy_of=running_postgres) as replica:
            place = f"{postgres_place()}&readers={replica.pgdata}"
            writer = parse_address(place).server
            alone = parse_address(place).readers
            assert alone is not None
            reader = parse_address(alone).server
            units = draw(30)
            with (
                create_gallery(place, 8) as gallery,
                psycopg.connect(writer, autocommit=True) as primary,
                psycopg.connect(reader, autocommit=True) as standby,
            ):

                def catch_up() -> None:
                    [(end,)] = primary.execute("SELECT pg_current_wal_lsn()").fetchall()
                    query = "SELECT pg_last_wal_replay_lsn() >= %s"
                    until = time.monotonic() + 60
                    while not standby.execute(query, (end,)).fetchall()[0][0]:
                        assert time.monotonic() < until
                        time.sleep(0.01)

                query = "SELECT pg_is_in_recovery()"
                assert standby.execute(query).fetchone() == (True,)
                ids = gallery.add([f"P{i}" for i in range(30)], units, ["1"] * 30)
                gallery.set_threshold(Threshold(0.5, "far", 1e-3, 30))
                catch_up()
                names = [f"P{i}" for i in range(30)]
                assert [each.name for [each] in gallery.search(units, 1)] == names
                found = gallery.identify(units[:2])
                assert [match.name for match in found if match] == names[:2]

                # A replica that stands still gives the state that it has.
                standby.execute("SELECT pg_wal_replay_pause()")
                gallery.remove(ids[:1])
                gallery.set_threshold(None)
                assert len(gallery) == 29
                assert gallery.info().threshold is None
                assert gallery.threshold() is not None
                assert gallery.search(units[:1], 1)[0][0].name == "P0"
                standby.execute("SELECT pg_wal_replay_resume()")
                catch_up()
                assert gallery.search(units[:1], 1)[0][0].name != "P0"
                assert gallery.threshold() is None

                # Its own address does not take changes.
                with open_gallery(alone) as other:
                    assert len(other.search(units, 2)) == 30
                    with pytest.raises(FileError, match="as a replica does"):
                        other.remove(ids[1:2])

                # Another model arrives there later, too.
                standby.execute("SELECT pg_wal_replay_pause()")
                others = draw(29, 5, seed=5)
                new = dict(zip(ids[1:], others, strict=True))
                gallery.replace_model(new, [], "m" * 64, {})
                with pytest.raises(FaceverError, match="of an unknown model"):
                    gallery.search(others[:1])
                standby.execute("SELECT pg_wal_replay_resume()")
                catch_up()
                assert gallery.search(others[:1], 1)[0][0].name == "P1"
