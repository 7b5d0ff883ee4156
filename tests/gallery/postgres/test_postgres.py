"""A gallery on a real PostgreSQL server: what it promises, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import psycopg
import pytest
from psycopg import sql

from facever.errors import (
    DataError,
    FileError,
    GalleryError,
    MismatchError,
    NotEnrolledError,
    ParameterError,
)
from facever.gallery import enrollment
from facever.gallery.base import AnyGallery
from facever.gallery.checksums import meta_checksum
from facever.gallery.entries import Filter, Origin
from facever.gallery.meta import Threshold
from facever.gallery.opening import create_gallery, gallery_exists, open_gallery
from facever.gallery.postgres import gallery as gallery_module
from facever.gallery.postgres import graphs, index_audit, tables
from facever.gallery.postgres import server as server_module
from facever.gallery.postgres.gallery import PostgresGallery
from facever.gallery.postgres.rows import as_query
from facever.gallery.postgres.searching import (
    graph_query,
    nearest_photos,
    nearest_query,
)
from facever.gallery.postgres.server import Server, literal, parse_address
from facever.gallery.postgres.tables import Located
from facever.stages.gallery.threshold import choose_threshold

Place = Callable[[], str]

END = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE application_name = 'facever'"
)


def run(place: str, *statements: str, user: str | None = None) -> list[Any]:
    """What an administrator does to the database of a gallery."""
    dsn = parse_address(place).server
    changes = {} if user is None else {"user": user}
    with psycopg.connect(dsn, autocommit=True, **changes) as connection:
        rows: list[Any] = []
        for statement in statements:
            cursor = connection.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
        return rows


def table_of(place: str) -> str:
    name = parse_address(place).gallery
    query = f"SELECT entries FROM facever.galleries WHERE name = '{name}'"
    return f"facever.entries_{run(place, query)[0][0]}"


def draw(count: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((count, dim))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def filled(postgres_place: Place) -> Iterator[AnyGallery]:
    """Forty photos of ten people."""
    with create_gallery(postgres_place(), 8) as gallery:
        names = [f"P{row % 10}" for row in range(40)]
        gallery.add(names, draw(40), [f"{row}.jpg" for row in range(40)])
        yield gallery


class TestAddresses:
    @pytest.mark.parametrize(
        ("url", "lacks"),
        [
            ("postgresql://host/db", "does not name one gallery"),
            ("postgresql://host?gallery=people", "names no database"),
            ("postgresql://host/db?gallery=", "does not name one gallery"),
            ("postgresql://host/db?gallery=a&gallery=b", "does not name one gallery"),
            ("postgresql:///?gallery=people", "names no database"),
        ],
    )
    def test_without_a_database_or_a_gallery_is_refused(
        self, url: str, lacks: str
    ) -> None:
        with pytest.raises(ParameterError) as caught:
            open_gallery(url)
        assert str(caught.value) == (
            "a gallery's URL must be postgresql://USER@HOST/DATABASE?gallery=NAME, "
            f"got {url!r}, which {lacks}"
        )

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://ann:secret@host/db?gallery=people",
            "postgresql://ann@host/db?gallery=people&password=secret",
            "postgresql://ann@host/db?gallery=people&sslpassword=secret",
            "postgresql://ann@host/db?gallery=people&oauth_client_secret=secret",
            "postgresql://ann@host/db?gallery=people&scram_client_key=secret",
            "postgresql://ann@host/db?gallery=people&Password=secret",
            "postgresql://ann:a@secret@host/db?gallery=people",
            "postgresql://ann:a/secret@host/db?gallery=people",
            "postgresql://ann:1/secret@host/db?gallery=people",
            "postgresql://ann:a?secret@host/db?gallery=people",
            "postgresql://ann:1/a?secret@host/db?gallery=people&gallery=a",
            "postgresql://ann:1#secret@host/db?gallery=people",
            "postgresql://ann:secret/db?gallery=people",
            "postgresql://ann%3Asecret@host/db?gallery=people",
        ],
    )
    def test_with_a_password_is_refused_and_not_shown(self, url: str) -> None:
        with pytest.raises(ParameterError, match="PGPASSWORD") as caught:
            open_gallery(url)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        "url",
        [
            "postgres://ann:secret@host/db?gallery=people",
            "PostgreSQL://ann:secret@host/db?gallery=people",
            "postgresql:/ann:secret@host/db?gallery=people",
            "postgresql://ann:1?secret@host/db?gallery=people",
            "postgresql://ann:se[secret@host/db?gallery=people",
            "postgresql://ann:1?password=secret",
            "postgresql://ann@host/db?gallery=people&readers=ann:secret@other",
            "postgres://ann:secret",
            "postgres://ann%40corp:secret@host/db",
            "postgres://ann@corp:secret@host/db",
            "postgres://ann/secret@host/db",
            "postgres://[ann]:secret@host/db",
            "postgres-sql://ann:secret@host/db",
            "postgresql2://ann:secret@host/db",
            " postgresql://ann:secret@host/db",
            "postgresql//ann:secret@host/db?gallery=people",
            "postgres://host/db?gallery=people;password=secret",
            "postgres://host/db#password=secret",
            "host=db user=ann password=secret dbname=faces",
            "postgresql://ann@host/db?gallery=a&readers=ann:secret@one&readers=two",
            "qdrant+http://host/people?api-key=secret",
            "qdrant+http://host/people?token=secret",
            "qdrant://ann:secret@host/people",
            "qdrant+http://host/people?api_key=secret",
        ],
    )
    def test_that_is_wrong_is_shown_without_its_password(self, url: str) -> None:
        with pytest.raises(ParameterError) as caught:
            open_gallery(url)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://postgres:@/db?host=/a/b&gallery=people",
            "postgresql://ann@one:1,two/db?gallery=people",
            "postgresql://[::1]:5433/db?gallery=a@b",
            "postgresql://db.example:5433/a%40b?gallery=people",
        ],
    )
    def test_without_a_password_is_taken(self, url: str) -> None:
        assert parse_address(url).place == url

    def test_what_else_it_says_is_for_the_server(self) -> None:
        found = parse_address(
            "postgresql://ann@host:1/my%20db?sslmode=require&gallery=a%26b&host=/x/y"
        )
        assert found.gallery == "a&b"
        assert found.server == (
            "postgresql://ann@host:1/my%20db?sslmode=require&host=%2Fx%2Fy"
        )

    def test_an_empty_password_is_none_and_shown_as_it_is(self) -> None:
        with pytest.raises(ParameterError, match=r"'postgresql://ann:@/db'.*one gall"):
            open_gallery("postgresql://ann:@/db")

    def test_the_other_name_of_the_scheme_is_put_right(self) -> None:
        with pytest.raises(ParameterError, match="write postgresql:// in place of po"):
            open_gallery("postgres://ann@host/db?gallery=people")

    @pytest.mark.parametrize(
        ("option", "said"),
        [
            ("reader=one.example", "no option 'reader'; did you mean readers?"),
            ("sslmod=require", "no option 'sslmod'; did you mean sslmode?"),
            ("galery=a", "no option 'galery'; did you mean gallery?"),
            ("colour=red", "no option 'colour'; leave it out"),
            # No password is advised.
            ("pasword=secret", "no option 'pasword'; leave it out"),
        ],
    )
    def test_an_option_that_there_is_not_is_named(self, option: str, said: str) -> None:
        with pytest.raises(ParameterError) as caught:
            open_gallery(f"postgresql://host/db?gallery=a&{option}")
        assert str(caught.value) == f"a gallery's URL has {said}"

    @pytest.mark.parametrize(
        "option",
        ["sslmode=wrong", "connect_timeout=soon", "keepalives=x", "port=99999999"],
    )
    def test_an_option_of_a_wrong_value_is_named(self, option: str) -> None:
        name, _, value = option.partition("=")
        with pytest.raises(ParameterError, match="a value that it cannot have") as e:
            open_gallery(f"postgresql://127.0.0.1/db?gallery=a&{option}")
        said = str(e.value).rpartition("cannot have")[2]
        assert name in said
        assert value in said

    def test_a_host_that_is_not_there(self) -> None:
        with pytest.raises(FileError, match=r"host was not found.*check its name"):
            open_gallery("postgresql://nowhere.invalid/db?gallery=people")

    def test_nobody_answers(self) -> None:
        with pytest.raises(FileError, match=r"does not answer.*start it"):
            open_gallery("postgresql://127.0.0.1:1/db?gallery=people")

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://[host/db?gallery=a",
            "postgresql://host/db?gallery=\udcff",
            "postgresql://host/db?gallery=a%00b",
        ],
    )
    def test_that_is_no_url_is_one_line(self, url: str) -> None:
        with pytest.raises(ParameterError, match="a gallery's URL must be"):
            open_gallery(url)

    def test_a_server_that_refuses_is_not_called_silent(
        self, postgres_server: str
    ) -> None:
        theirs = postgres_server.replace("postgres:@", "nobody@")
        with pytest.raises(FileError, match=r"refuses the connection .*nobody"):
            open_gallery(f"{theirs}&gallery=a")

    def test_another_programs_table_of_a_gallerys_name_is_left_alone(
        self, postgres_place: Place
    ) -> None:
        place, other = postgres_place(), postgres_place()
        with create_gallery(place, 8):
            last = int(table_of(place).rpartition("_")[2])
        theirs = [f"facever.entries_{last + step}" for step in (1, 2)]
        run(place, *(f"CREATE TABLE {name} (thing text)" for name in theirs))
        with create_gallery(other, 8) as gallery:
            gallery.add(["Ann"], draw(1), ["a.jpg"])
            assert table_of(other) not in theirs
            assert gallery.names() == {"Ann": 1}
        run(place, *(f"DROP TABLE {name}" for name in theirs))


class TestGalleries:
    def test_is_there_once_it_is_made(self, postgres_place: Place) -> None:
        place = postgres_place()
        assert not gallery_exists(place)
        with pytest.raises(FileError, match="no such gallery; make one with"):
            open_gallery(place)
        create_gallery(place, 4).close()
        assert gallery_exists(place)
        with pytest.raises(GalleryError, match="there is a gallery already"):
            create_gallery(place, 4)

    def test_two_in_one_database_know_nothing_of_each_other(
        self, postgres_place: Place
    ) -> None:
        with (
            create_gallery(postgres_place(), 2) as one,
            create_gallery(postgres_place(), 3) as two,
        ):
            one.add(["Ann"], np.ones((1, 2)), ["1"])
            two.add(["Bob"], np.ones((1, 3)), ["1"])
            assert (one.names(), two.names()) == ({"Ann": 1}, {"Bob": 1})

    def test_two_models_under_one_name_are_refused(self, postgres_place: Place) -> None:
        place = postgres_place()
        create_gallery(place, 2, "a" * 64).close()
        with pytest.raises(MismatchError, match="made for model aaaaaaaaaaaa"):
            open_gallery(place, "b" * 64)

    def test_embeddings_come_back_bit_by_bit(self, postgres_place: Place) -> None:
        units = draw(300, 40)
        with create_gallery(postgres_place(), 40) as gallery:
            gallery.add([f"P{i}" for i in range(300)], units, ["1"] * 300)
            blocks = list(gallery.read())
        read = np.concatenate([embeddings for _, embeddings in blocks])
        assert read.tobytes() == units.tobytes()

    def test_a_query_is_read_to_the_same_bits(self, filled: AnyGallery) -> None:
        unit = draw(1, 8, seed=5)[0]
        text = as_query(unit)
        [(content,)] = run(str(filled.place), f"SELECT vector_send('{text}'::vector)")
        assert np.frombuffer(content, ">f4", offset=4).tobytes() == (
            unit.astype(">f4").tobytes()
        )

    def test_texts_are_kept_as_they_are(self, postgres_place: Place) -> None:
        names = ["\\N", "a\tb", "王\n", "'; DROP TABLE x; --", "%s{entries}"]
        fields = [{"k%s": "\\x"}, {'"': [1, {"b": None}]}, {"a": 1.0}, {"é": "é"}, {}]
        origins = [Origin("/a\udcff.jpg", None, "f00d"), None, None, None, None]
        with create_gallery(postgres_place(), 3) as gallery:
            ids = gallery.add(names, draw(5, 3), names, fields, origins)
            assert [e.name for e in gallery.entries()] == names
            assert [e.fields for e in gallery.entries()] == fields
            assert gallery.origin(ids[0]) == origins[0]
            assert gallery.verify() == 5

    @pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
    def test_texts_are_utf8_whatever_the_environment_says(
        self, filled: AnyGallery, monkeypatch: pytest.MonkeyPatch, encoding: str
    ) -> None:
        monkeypatch.setenv("PGCLIENTENCODING", encoding)
        with open_gallery(filled.place) as gallery:
            gallery.add(["王"], draw(1), ["é.jpg"])
            assert "王" in gallery.names()
            gallery.verify()

    @pytest.mark.parametrize("text", ["a\0b", "\udcff"])
    def test_a_text_that_cannot_be_there_is_not_found(
        self, filled: AnyGallery, text: str
    ) -> None:
        assert filled.find(text, "1.jpg") is None
        assert filled.find("P1", text) is None
        assert filled.entries(Filter([text])) == []
        assert filled.search(draw(1), where=Filter([text])) == [[]]
        with pytest.raises(NotEnrolledError):
            filled.remove([text])
        with pytest.raises(NotEnrolledError):
            filled.remove_person(text)

    def test_a_filter_means_the_whole_value(self, postgres_place: Place) -> None:
        values = [1, 1.0, True, 0, None, "1", [1, 2], [1], {"b": 1}, {}, [], 10**30]
        with create_gallery(postgres_place(), 3) as gallery:
            fields = [{"a": value} for value in values]
            names = [str(row) for row in range(len(values))]
            gallery.add(names, draw(len(values), 3), names, fields)
            for value in values:
                found = gallery.entries(Filter(fields={"a": value}))
                alike = [
                    other
                    for other in values
                    if other == value
                    and isinstance(other, bool) == isinstance(value, bool)
                ]
                assert [entry.fields["a"] for entry in found] == alike

    @pytest.mark.parametrize("size", [1, 16_000])
    def test_the_smallest_and_the_largest_embeddings(
        self, postgres_place: Place, size: int
    ) -> None:
        units = draw(5, size)
        with create_gallery(postgres_place(), size) as gallery:
            gallery.add(list("abcde"), units, list("abcde"))
            [found] = gallery.search(units[:1], 100, "mean")
            assert len(found) == 5
            assert gallery.verify() == 5

    def test_is_not_opened_again_by_itself_once_closed(
        self, filled: AnyGallery
    ) -> None:
        filled.close()
        with pytest.raises(GalleryError, match="was closed"):
            filled.names()

    def test_a_nul_is_refused_and_nothing_is_added(self, filled: AnyGallery) -> None:
        for name, fields in [("a\0b", {}), ("Cy", {"x": "a\0b"})]:
            with pytest.raises(ParameterError, match="cannot keep"):
                filled.add(["Cy", name], draw(2), ["1", "2"], [{}, fields])
        assert len(filled) == 40

    def test_names_that_no_index_holds_are_refused(self, filled: AnyGallery) -> None:
        long = "".join(map(chr, range(0x4E00, 0x4E00 + 4000)))
        with pytest.raises(ParameterError, match="longer together than"):
            filled.add([long], draw(1), ["1"])

    def test_another_model_takes_the_place_of_the_first(
        self, filled: AnyGallery
    ) -> None:
        before = filled.entries()
        table = table_of(str(filled.place))
        new = dict(zip((e.id for e in before), draw(40, 5, seed=1), strict=True))
        gone = before[0].id
        del new[gone]
        with pytest.raises(GalleryError, match="somebody has changed the gallery"):
            filled.replace_model(new, [], "m" * 64, {})
        assert filled.entries() == before
        filled.replace_model(new, [gone], "m" * 64, {"network": "x"})
        assert filled.entries() == before[1:]
        [(_, units)] = filled.read()
        assert units.tobytes() == draw(40, 5, seed=1)[1:].tobytes()
        assert filled.info().model_fingerprint == "m" * 64
        assert run(str(filled.place), f"SELECT to_regclass('{table}')") == [(None,)]

    def test_those_who_could_read_before_a_migration_can_after(
        self, filled: AnyGallery
    ) -> None:
        place = str(filled.place)
        owner, reader = f"owner{os.getpid()}", f"reader{os.getpid()}"
        table = table_of(place)
        run(
            place,
            f"CREATE ROLE {owner}",
            f"CREATE ROLE {reader} LOGIN",
            f"GRANT USAGE, CREATE ON SCHEMA facever TO {owner}",
            f"GRANT USAGE ON SCHEMA facever TO {reader}",
            f"GRANT SELECT ON facever.galleries TO {reader}",
            f"GRANT SELECT ON {table} TO {reader}",
            f"ALTER TABLE {table} OWNER TO {owner}",
        )
        try:
            new = {
                entry.id: unit
                for entry, unit in zip(filled.entries(), draw(40), strict=True)
            }
            filled.replace_model(new, [], "m" * 64, {})
            with open_gallery(place.replace("postgres:@", f"{reader}@")) as gallery:
                assert len(gallery) == 40
            owned = f"SELECT tableowner FROM pg_tables WHERE tableowner = '{owner}'"
            assert run(place, owned) == [(owner,)]
        finally:
            run(
                place,
                f"REASSIGN OWNED BY {owner} TO postgres",
                *(f"DROP OWNED BY {role}" for role in (owner, reader)),
                f"DROP ROLE {owner}, {reader}",
            )

    def test_a_gallery_that_is_migrated_meanwhile_is_still_read(
        self, filled: AnyGallery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The table goes between the two questions of a reader."""
        with open_gallery(filled.place) as reader:
            new = {
                entry.id: unit
                for entry, unit in zip(filled.entries(), draw(40), strict=True)
            }
            locate = tables.locate
            turns = iter([True, False])

            def migrate_first(server: Any, **given: Any) -> Any:
                located = locate(server, **given)
                if server is not filled._server and next(turns):  # type: ignore[attr-defined]
                    filled.replace_model(new, [], "m" * 64, {})
                return located

            monkeypatch.setattr(tables, "locate", migrate_first)
            assert len(reader) == 40

    def test_nobody_is_left_to_migrate(self, filled: AnyGallery) -> None:
        ids = [entry.id for entry in filled.entries()]
        with pytest.raises(GalleryError, match="nothing was migrated"):
            filled.replace_model({}, ids, "m" * 64, {})
        assert len(filled) == 40


class TestIndexes:
    def test_a_graph_of_removed_photos_still_finds_the_others(
        self, postgres_place: Place
    ) -> None:
        """They stay in the graph until the server cleans it up."""
        near, far = draw(1)[0] + 0.01 * draw(1500), -draw(1)[0] + 0.01 * draw(1500)
        with create_gallery(postgres_place(), 8, index="hnsw") as gallery:
            table = table_of(str(gallery.place))
            run(
                str(gallery.place),
                f"ALTER TABLE {table} SET (autovacuum_enabled = off)",
            )
            gallery.add(["Ann"] * 1500, near, [f"{row}" for row in range(1500)])
            gallery.add(["Bob"] * 1500, far, [f"{row}" for row in range(1500)])
            gallery.remove_person("Ann")
            [found] = gallery.search(draw(1), 5)
            assert [match.name for match in found] == ["Bob"] * 5

    def test_others_search_while_an_index_is_built(
        self, filled: AnyGallery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        filled.rebuild("hnsw")
        with open_gallery(filled.place) as other:
            make_index = graphs.make_index
            run_in_between = f"{filled.place}&options=-c%20lock_timeout%3D2s"

            def search_meanwhile(*given: Any) -> None:
                make_index(*given)
                with open_gallery(run_in_between) as impatient:
                    assert len(impatient.search(draw(1), 3)[0]) == 3

            monkeypatch.setattr(graphs, "make_index", search_meanwhile)
            assert filled.rebuild("hnsw") == "hnsw"
            monkeypatch.undo()
            table = table_of(str(filled.place))
            ours = f"pg_indexes WHERE indexdef LIKE '%{table} USING hnsw%'"
            assert run(str(filled.place), f"SELECT count(*) FROM {ours}") == [(1,)]
            assert len(other.search(draw(1), 3)[0]) == 3

    def test_an_index_that_is_gone_is_not_said_to_be_in_use(
        self, filled: AnyGallery
    ) -> None:
        filled.rebuild("hnsw")
        assert filled.info().index_in_use == "hnsw"
        [(name,)] = run(
            str(filled.place),
            "SELECT indexname FROM pg_indexes WHERE indexdef LIKE "
            f"'%{table_of(str(filled.place))} USING hnsw%'",
        )
        run(str(filled.place), f"DROP INDEX facever.{name}")
        assert (filled.info().index, filled.info().index_in_use) == ("hnsw", "exact")
        assert len(filled.search(draw(1), 5)[0]) == 5

    @pytest.mark.parametrize("index", ["hnsw", "halfvec"])
    def test_an_index_is_used_and_audited(
        self, postgres_place: Place, index: str
    ) -> None:
        units = draw(2000, 16)
        with create_gallery(postgres_place(), 16, index=index) as gallery:
            gallery.add([f"P{i}" for i in range(2000)], units, ["1"] * 2000)
            found = gallery.audit(50, 5)
            assert (found.num_queries, found.k) == (50, 5)
            assert found.recall_at_1 >= 0.98
            [matches] = gallery.search(units[7:8], 3)
            cosines = np.sort(units.astype(np.float64) @ units[7])[::-1][:3]
            # In float32, whatever the index compared.
            np.testing.assert_allclose([m.cosine for m in matches], cosines, atol=2e-7)
            assert "embedding_idx" in self.plan_of(gallery, index, units[:2])
            assert "embedding_idx" not in self.plan_of(gallery, "exact", units[:2])

    def plan_of(self, gallery: AnyGallery, index: str, units: np.ndarray) -> str:
        """How the server finds the photos near some, as a search asks it."""
        place = str(gallery.place)
        name = table_of(place).removeprefix("facever.")
        meta = replace(gallery._meta(), index=index)
        located = Located(name, meta, 200)
        asked, is_exact = list(map(as_query, units)), index == "exact"
        with psycopg.connect(parse_address(place).server) as connection:
            scan = "indexscan" if is_exact else "seqscan"
            connection.execute(f"SET enable_{scan} = off")
            query, values = (
                (nearest_query(located, sql.SQL("true")), [asked, 3])
                if is_exact
                else (graph_query(located), [asked, 200, 3])
            )
            return str(
                connection.execute(sql.SQL("EXPLAIN ") + query, values).fetchall()
            )

    def test_a_graph_gets_as_many_candidates_as_it_needs(
        self, postgres_place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each photo's nearest other by brute force, and what the graph gives of it."""
        ladder = (8, 16, 32, 64, 128, 256)
        monkeypatch.setattr(index_audit, "CANDIDATES", ladder)
        count, size = 400, 16

        def make_poor_graph(server: Server, table: str, *_: Any) -> None:
            query = (
                "CREATE INDEX ON {entries} USING hnsw (embedding vector_ip_ops) "
                "WITH (m = 5, ef_construction = 10)"
            )
            server.do(literal({"entries": table}, query))

        monkeypatch.setattr(graphs, "make_index", make_poor_graph)
        units = draw(count, size)
        place = postgres_place()
        with create_gallery(place, size, index="hnsw") as gallery:
            gallery.add([f"P{i}" for i in range(count)], units, ["1"] * count)
            gallery.rebuild()
            chosen = gallery.audit().candidates
        cosines = units @ units.T
        np.fill_diagonal(cosines, -1)
        nearest = cosines.argmax(axis=1) + 1  # Numbers are counted from 1.

        def recall(candidates: int) -> float:
            with psycopg.connect(parse_address(place).server) as connection:
                connection.execute("SET enable_seqscan = off")
                connection.execute(f"SET hnsw.ef_search = {candidates}")
                found = [
                    connection.execute(
                        f"SELECT number FROM {table_of(place)} ORDER BY embedding <#> "
                        f"'{as_query(unit)}' LIMIT {candidates}"
                    ).fetchall()
                    for unit in units
                ]
            hits = [(best,) in rows for best, rows in zip(nearest, found, strict=True)]
            return sum(hits) / count

        enough = [candidates for candidates in ladder if recall(candidates) >= 0.999]
        assert chosen == enough[0]
        assert ladder[0] < chosen < ladder[-1]

    def test_migration_chooses_candidates_anew(
        self, postgres_place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []

        def choose(server: Server, located: Located) -> int:
            found = nearest_photos(server, located, units[:1], 1, Filter())
            seen.append((located.meta.embedding_size, found[0][0].cosine))
            return 700

        units = draw(40, 4)
        with create_gallery(postgres_place(), 8, index="hnsw") as gallery:
            gallery.add(["Ann"] * 40, draw(40), [f"{row}.jpg" for row in range(40)])
            entries = gallery.entries()
            new = {e.id: unit for e, unit in zip(entries, units, strict=True)}
            monkeypatch.setattr(gallery_module, "enough_candidates", choose)
            gallery.replace_model(new, [], "m" * 64, {})
            assert gallery.audit().candidates == 700
        assert seen == [(4, pytest.approx(1))]

    def test_where_the_fewest_candidates_do_there_are_no_more(
        self, filled: AnyGallery
    ) -> None:
        filled.rebuild("halfvec")
        assert filled.audit().candidates == 200
        filled.rebuild("exact")
        assert filled.audit().candidates is None

    @pytest.mark.parametrize("index", ["exact", "hnsw"])
    def test_building_says_how_far_it_is(
        self, postgres_place: Place, monkeypatch: pytest.MonkeyPatch, index: str
    ) -> None:
        monkeypatch.setattr(graphs, "_WATCHED_EVERY_SECONDS", 0.01)
        done: list[int] = []
        with create_gallery(postgres_place(), 64) as gallery:
            gallery.add(["Ann"] * 4000, draw(4000, 64), [f"{i}" for i in range(4000)])
            gallery.rebuild(index, lambda count=1, note="": done.append(count))
        assert sum(done) == 4000
        assert min(done) >= 0
        assert (len([count for count in done if count]) > 2) == (index == "hnsw")

    def test_an_index_is_built_where_nobody_can_watch(
        self, filled: AnyGallery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any) -> None:
            raise FileError("too many connections")

        monkeypatch.setattr(graphs, "Server", full)
        done: list[int] = []
        filled.rebuild("hnsw", lambda count=1, note="": done.append(count))
        assert filled.info().index_in_use == "hnsw"
        assert sum(done) == 40

    def test_an_audit_sees_what_an_index_misses(
        self, filled: AnyGallery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        filled.rebuild("hnsw")
        assert filled.audit(40, 3).recall_at_k == 1.0
        search = index_audit.nearest_photos

        def miss(*given: Any) -> Any:
            found = search(*given)
            return found if given[-1] is True else [each[:1] for each in found]

        monkeypatch.setattr(index_audit, "nearest_photos", miss)
        assert filled.audit(40, 3).recall_at_k == 0.0

    def test_unknown_or_too_large_is_refused(self, postgres_place: Place) -> None:
        with pytest.raises(ParameterError, match=r"exact, hnsw, halfvec .* got 'sq8'"):
            create_gallery(postgres_place(), 4, index="sq8")
        with pytest.raises(ParameterError, match="may have 2,000 numbers, got 2,001"):
            create_gallery(postgres_place(), 2001, index="hnsw")
        place = postgres_place()
        create_gallery(place, 2001, index="halfvec").close()
        with (
            open_gallery(place) as gallery,
            pytest.raises(ParameterError, match="may have 2,000 numbers"),
        ):
            gallery.rebuild("hnsw")

    def test_a_filter_is_exact_whatever_the_index(self, filled: AnyGallery) -> None:
        filled.rebuild("hnsw")
        query = draw(1, seed=3)
        [found] = filled.search(query, 4, where=Filter(["P3"]))
        rows = [row for row in range(40) if row % 10 == 3]
        order = sorted(rows, key=lambda row: -float(draw(40)[row] @ query[0]))
        assert [match.source for match in found] == [f"{row}.jpg" for row in order]


class TestQuestions:
    def test_many_photos_are_asked_for_together(
        self, filled: AnyGallery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Which photos are there, and where they came from: not one by one."""
        photos = [(f"P{row % 10}", f"{row}.jpg") for row in range(45)]
        ids = filled.ids_of(photos)
        assert ids == {photo: filled.find(*photo) for photo in photos[:40]}
        origins = {entry_id: filled.origin(entry_id) for entry_id in ids.values()}
        more = filled.add(["Ann"], draw(1), ["a"], origins=[Origin("/a", None, "f0")])
        origins[more[0]] = Origin("/a", None, "f0")
        ask, asked = server_module.Server.ask, 0

        def count(self: Any, *given: Any) -> Any:
            nonlocal asked
            asked += 1
            return ask(self, *given)

        monkeypatch.setattr(server_module.Server, "ask", count)
        assert filled.origins([*origins, "nobody"]) == origins
        filled.ids_of(photos)
        assert asked <= 6
        monkeypatch.setattr(enrollment, "_ASKED_AT_ONCE", 20)
        names, sources = (list(each) for each in zip(*photos, strict=True))
        faces = enrollment.EmbeddingFaces(names, sources, draw(45))
        for num_new in (5, 0):
            asked = 0
            found = enrollment.enroll(filled, faces)
            assert (found.num_added, found.num_known) == (num_new, 45 - num_new)
            assert asked <= 30


class TestProgress:
    def test_of_an_import_and_of_verify(
        self, filled: AnyGallery, postgres_place: Place
    ) -> None:
        counts: list[int] = []

        def advance(count: int = 1, note: str = "") -> None:
            counts.append(count)

        units = draw(600)
        names = [f"{row}.jpg" for row in range(600)]
        with create_gallery(postgres_place(), 8) as gallery:
            gallery.add(["Ann"] * 600, units, names)
            filled.insert(gallery.entries(), units, advance=advance)
        assert counts == [256, 256, 88]
        counts.clear()
        assert filled.verify(advance) == 640
        assert sum(counts) == 640


class TestDamage:
    @pytest.mark.parametrize(
        "change",
        [
            "name = 'Eve'",
            "source = 'x'",
            "fields = '{\"a\": 2}'",
            "added = '1999'",
            "origin = '{}'",
            "embedding = (SELECT embedding FROM {table} WHERE name = 'P2' LIMIT 1)",
            "embedding = embedding + embedding",
            "embedding_checksum = 0",
            "entry_checksum = entry_checksum + 1",
        ],
    )
    def test_what_somebody_changed_is_found(
        self, filled: AnyGallery, change: str
    ) -> None:
        place = str(filled.place)
        table = table_of(place)
        change = change.replace("{table}", table)
        [(entry_id,)] = run(place, f"SELECT id FROM {table} WHERE source = '3.jpg'")
        run(place, f"UPDATE {table} SET {change} WHERE id = '{entry_id}'")
        for read in (
            filled.verify,
            lambda: filled.search(draw(40)[3:4], 40),
        ):
            with pytest.raises(
                FileError, match=r"damaged .*checksum.*this id, restore"
            ):
                read()
        filled.remove([entry_id])
        assert filled.verify() == 39

    def test_a_digest_that_somebody_changed_is_found(self, filled: AnyGallery) -> None:
        filled.add(
            ["Ann"], draw(1), ["a.jpg"], origins=[Origin("/a\udcff", None, "f0")]
        )
        assert filled.verify() == 41
        for change in ("digest = NULL", "digest = 'f1'"):
            table = table_of(str(filled.place))
            run(str(filled.place), f"UPDATE {table} SET {change} WHERE name = 'Ann'")
            with pytest.raises(FileError, match=r"is found by .*enrolled\); .*this id"):
                filled.verify()

    def test_metadata_that_somebody_changed_is_found(self, filled: AnyGallery) -> None:
        run(
            str(filled.place),
            "UPDATE facever.galleries SET meta = replace(meta, '8', '9') "
            f"WHERE name = '{parse_address(str(filled.place)).gallery}'",
        )
        with pytest.raises(FileError, match="its metadata is unreadable"):
            filled.info()

    def test_a_newer_facever_made_it(self, filled: AnyGallery) -> None:
        run(
            str(filled.place),
            "UPDATE facever.galleries SET format = 9, "
            "meta = replace(meta, '\"format\": 2', '\"format\": 9') "
            f"WHERE name = '{parse_address(str(filled.place)).gallery}'",
        )
        with pytest.raises(GalleryError, match="has format 9, this facever reads"):
            open_gallery(filled.place)

    def test_an_older_facever_made_it(self, postgres_place: Place) -> None:
        """Its row of metadata is one that version 1 of the format wrote."""
        place = postgres_place()
        with create_gallery(place, 8, index="hnsw") as gallery:
            names = [f"P{row % 10}" for row in range(40)]
            gallery.add(names, draw(40), [f"{row}.jpg" for row in range(40)])
            gallery.rebuild()
        name = parse_address(place).gallery
        meta = (
            '{"format": 1, "gallery_id": "dc9e9828f3964630a1afcbf48ed837a0", '
            '"embedding_size": 8, "model_fingerprint": null, "model_details": {}, '
            '"created": "2026-11-30T13:44:11+00:00", "index": "hnsw", '
            '"threshold": null}'
        )
        run(
            place,
            f"UPDATE facever.galleries SET format = 1, meta = '{meta}', "
            f"checksum = 1223833997 WHERE name = '{name}'",
        )
        where = f"WHERE name = '{name}'"
        row = f"SELECT format, meta, checksum FROM facever.galleries {where}"
        before = run(place, row)
        with open_gallery(place) as gallery:
            entries, found = gallery.entries(), gallery.search(draw(3, seed=1), 5)
            assert gallery.audit().candidates == 200
            assert gallery.verify() == 40
            assert run(place, row) == before  # Reading changes nothing.
            threshold = Threshold(0.5, "far", 0.1, 40)
            gallery.set_threshold(threshold)
            assert run(place, row)[0][0] == 2
        with open_gallery(place) as gallery:
            assert gallery.info().threshold == threshold
            assert gallery.info().created == "2026-11-30T13:44:11+00:00"
            assert gallery.entries() == entries
            assert gallery.search(draw(3, seed=1), 5) == found
            assert gallery.verify() == 40

    @pytest.mark.parametrize("lacks", ["candidates", "index"])
    def test_metadata_without_something_is_damaged(
        self, filled: AnyGallery, lacks: str
    ) -> None:
        name = parse_address(str(filled.place)).gallery
        where = f"WHERE name = '{name}'"
        [(text,)] = run(
            str(filled.place), f"SELECT meta FROM facever.galleries {where}"
        )
        meta = json.loads(text)
        del meta[lacks]
        text = json.dumps(meta)
        run(
            str(filled.place),
            f"UPDATE facever.galleries SET meta = '{text}', "
            f"checksum = {meta_checksum({'meta': text})} {where}",
        )
        with pytest.raises(FileError, match="its metadata is unreadable"):
            filled.info()

    @pytest.mark.parametrize(
        "change",
        [
            "ALTER TABLE {table} ADD COLUMN extra text",
            "ALTER TABLE {table} DROP COLUMN digest",
            "ALTER TABLE {table} ALTER added TYPE varchar",
            "CREATE FUNCTION {table}_f() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER t BEFORE INSERT ON {table} "
            "EXECUTE FUNCTION {table}_f()",
            "DROP TABLE {table}",
        ],
    )
    def test_tables_that_are_not_facevers_are_refused(
        self, filled: AnyGallery, change: str
    ) -> None:
        table = table_of(str(filled.place))
        run(str(filled.place), change.replace("{table}", table))
        with pytest.raises(FileError, match=f"table {table} is missing, or not one"):
            open_gallery(filled.place)


ADD_FOREVER = """
import sys, numpy as np
from facever.gallery.opening import open_gallery
gallery = open_gallery(sys.argv[1])
for turn in range(1000):
    names = [f"{sys.argv[2]}-{turn}"] * 5
    units = np.random.default_rng(turn).standard_normal((5, 8))
    gallery.add(names, units, [f"{row}.jpg" for row in range(5)])
    print(turn, flush=True)
"""


@contextmanager
def writer(place: str, name: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", ADD_FOREVER, place, name]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_turns(process: "subprocess.Popen[str]", count: int) -> int:
    assert process.stdout is not None
    last = -1
    while last < count:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        last = int(line)
    return last


class TestWhatIsInterrupted:
    def test_a_killed_client_leaves_whole_changes(self, postgres_place: Place) -> None:
        place = postgres_place()
        create_gallery(place, 8).close()
        with writer(place, "w") as process:
            last = wait_for_turns(process, 5)
            process.send_signal(signal.SIGKILL)
            process.wait()
        with open_gallery(place) as gallery:
            names = gallery.names()
            assert {f"w-{turn}" for turn in range(last + 1)} <= set(names)
            assert set(names.values()) == {5}
            assert gallery.verify() == 5 * len(names)

    def test_a_killed_server_keeps_what_was_acknowledged(
        self, start_postgres: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        with start_postgres() as server:
            place = f"{server.get_uri()}&gallery=people"
            gallery = create_gallery(place, 8)
            with writer(place, "w") as process:
                last = wait_for_turns(process, 5)
                # All processes of the server at once, as when the power goes.
                postmaster = psutil.Process(server.get_pid())
                dying = [postmaster, *postmaster.children()]
                for each in dying:
                    with suppress(psutil.NoSuchProcess):  # Some come and go.
                        each.kill()
                psutil.wait_procs(dying, timeout=60)
                out, said = process.communicate()
            last = max([last, *map(int, out.split())])
            assert "FileError" in said
            with pytest.raises(FileError, match="does not answer, or not any more"):
                gallery.names()
            with pytest.raises(FileError, match="does not answer"):
                gallery.add(["Ann"], draw(1), ["1"])
            server.ensure_postgres_running()
            # The same handle goes on.
            names = gallery.names()
            assert {f"w-{turn}" for turn in range(last + 1)} <= set(names)
            assert set(names.values()) == {5}
            assert gallery.verify() == 5 * len(names)
            gallery.add(["Ann"], draw(1), ["1"])
            gallery.close()

    def test_a_lost_connection_is_opened_again(self, filled: AnyGallery) -> None:
        calls: list[Callable[[], object]] = [
            filled.names,
            filled.info,
            lambda: filled.search(draw(1)),
            lambda: filled.add(["Ann"], draw(1), ["1"]),
            lambda: filled.update_person("Ann", fields={"x": 1}),
            lambda: filled.remove_person("Ann"),
            lambda: list(filled.read()),
            filled.verify,
        ]
        for call in calls:
            run(str(filled.place), END)
            assert call() is not None or True
        assert len(filled) == 40

    def test_a_connection_lost_in_a_change_changes_nothing(
        self, filled: AnyGallery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert isinstance(filled, PostgresGallery)
        before = filled.entries()

        def lose(*given: Any) -> None:
            insert(*given)
            run(str(filled.place), END)

        insert = filled._insert
        monkeypatch.setattr(filled, "_insert", lose)
        with pytest.raises(FileError, match="did not say whether it was"):
            filled.add(["Ann"], draw(1), ["1"])
        monkeypatch.undo()
        assert filled.entries() == before

    @pytest.mark.parametrize("turn", ["first", "later"])
    def test_an_enrollment_says_what_stays(
        self, postgres_place: Place, monkeypatch: pytest.MonkeyPatch, turn: str
    ) -> None:
        place = postgres_place()
        names = [f"P{row}" for row in range(20)]
        faces = enrollment.EmbeddingFaces(names, names, draw(20))
        monkeypatch.setattr(enrollment.EmbeddingFaces, "batch", 8)

        def lose(count: int = 1, note: str = "") -> None:
            nonlocal num_done
            num_done += count
            if num_done == 16:
                other.__enter__()

        with create_gallery(place, 8) as gallery, open_gallery(place) as holder:
            assert isinstance(holder, PostgresGallery)
            monkeypatch.setattr(server_module, "_LOCK_SECONDS", 1)
            num_done = 0
            other = holder._changing()
            if turn == "first":
                other.__enter__()
            with pytest.raises(GalleryError, match="others keep on writing") as caught:
                enrollment.enroll(gallery, faces, advance=lose)
            other.__exit__(None, None, None)
            said = str(caught.value)
            stay = "16 of 20 were enrolled before and stay; the same command goes on"
            assert said.endswith(stay) == (turn == "later")
            assert ("enrolled" in said) == (turn == "later")
            assert "nothing was changed" not in said
            assert len(gallery) == (16 if turn == "later" else 0)
            done = enrollment.enroll(gallery, faces)
            assert done.num_known == (16 if turn == "later" else 0)
            assert len(gallery) == 20

    def test_an_enrollment_whose_server_is_lost_at_its_end_says_what_stays(
        self, postgres_place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(self: Server) -> Any:
            raise psycopg.OperationalError("no route")

        def lose(count: int = 1, note: str = "") -> None:
            run(place, END)
            monkeypatch.setattr(Server, "_connect", refuse)

        place = postgres_place()
        faces = enrollment.EmbeddingFaces(["Ann"], ["a.jpg"], draw(1))
        with create_gallery(place, 8) as gallery:
            with pytest.raises(FileError, match="1 of 1 were enrolled before and stay"):
                enrollment.enroll(gallery, faces, advance=lose)
            monkeypatch.undo()
            assert len(gallery) == 1

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_an_interrupted_change_leaves_no_transaction_open(
        self, filled: AnyGallery, monkeypatch: pytest.MonkeyPatch, kind: Any
    ) -> None:
        before = filled.entries()

        def interrupt(*given: Any) -> None:
            insert(*given)
            raise kind

        insert = filled._insert
        monkeypatch.setattr(filled, "_insert", interrupt)
        with pytest.raises(kind):
            filled.add(["Ann"], draw(1), ["1"])
        monkeypatch.undo()
        with open_gallery(filled.place) as other:
            other.add(["Bob"], draw(1), ["1"])
            other.remove_person("Bob")
        assert filled.entries() == before

    def test_a_connection_that_goes_with_an_error_does_not_hide_it(
        self, filled: AnyGallery
    ) -> None:
        assert isinstance(filled, PostgresGallery)

        def lose_and_fail() -> None:
            with filled._changing():
                run(str(filled.place), END)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            lose_and_fail()
        assert len(filled) == 40

    def test_a_connection_lost_while_reading_is_one_line(
        self, filled: AnyGallery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gallery_module, "_ROWS_A_READ", 7)
        blocks = filled.read()
        next(blocks)
        run(str(filled.place), END)
        with pytest.raises(FileError, match="does not answer") as caught:
            list(blocks)
        assert "\n" not in str(caught.value)
        assert len(filled) == 40

    def test_a_read_that_is_given_up_holds_nothing(
        self, filled: AnyGallery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gallery_module, "_ROWS_A_READ", 7)
        monkeypatch.setattr(server_module, "_LOCK_SECONDS", 2)
        blocks = filled.read()
        next(blocks)
        ids = [entry.id for entry in filled.entries()]
        new = dict(zip(ids, draw(40), strict=True))
        with pytest.raises(GalleryError, match="on reading what this would replace"):
            filled.replace_model(new, [], "m" * 64, {})
        del blocks
        filled.replace_model(new, [], "m" * 64, {})

    def test_two_make_the_first_gallery_at_once(self, postgres_place: Place) -> None:
        place = postgres_place()
        name = f"first{os.getpid()}"
        run(place, f"CREATE DATABASE {name}")
        theirs = place.replace("/postgres?", f"/{name}?")
        make = "import sys; from facever.gallery.opening import create_gallery as c; "
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        makers = [
            subprocess.Popen(
                [sys.executable, "-c", f"{make}c('{theirs}{number}', 4).close()"],
                env=environment,
            )
            for number in range(2)
        ]
        try:
            assert [maker.wait(60) for maker in makers] == [0, 0]
        finally:
            run(place, f"DROP DATABASE {name} WITH (FORCE)")

    def test_many_write_and_read_at_once(self, postgres_place: Place) -> None:
        place = postgres_place()
        create_gallery(place, 8).close()
        writers = [writer(place, f"w{number}") for number in range(4)]
        for each in writers:
            each.__enter__()
        seen: list[dict[str, int]] = []
        try:
            with open_gallery(place) as gallery:
                begun: set[str] = set()
                ends = time.monotonic() + 60
                while len(begun) < len(writers) and time.monotonic() < ends:
                    seen.append(gallery.names())
                    gallery.search(draw(2), 3)
                    begun = {name.split("-")[0] for name in seen[-1]}
                gallery.verify()
        finally:
            for each in writers:
                each.__exit__(None, None, None)
        assert all(set(names.values()) <= {5} for names in seen), "whole changes alone"
        assert begun == {"w0", "w1", "w2", "w3"}

    def test_two_that_add_one_photo_enroll_it_once(self, postgres_place: Place) -> None:
        place = postgres_place()
        create_gallery(place, 8).close()
        with writer(place, "same") as one, writer(place, "same") as two:
            wait_for_turns(one, 10)
            wait_for_turns(two, 10)
        with open_gallery(place) as gallery:
            assert set(gallery.names().values()) == {5}

    def test_a_writer_that_waits_too_long_is_told(
        self, filled: AnyGallery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server_module, "_LOCK_SECONDS", 1)
        assert isinstance(filled, PostgresGallery)
        with open_gallery(filled.place) as other, filled._changing():
            with pytest.raises(GalleryError, match="others keep on writing"):
                other.remove_person("P1")
            assert other.names() == {f"P{i}": 4 for i in range(10)}


class TestRights:
    def test_a_user_who_may_only_read_searches(
        self, filled: AnyGallery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = str(filled.place)
        table = table_of(place)
        reader = f"reader{os.getpid()}"
        run(
            place,
            f"CREATE ROLE {reader} LOGIN",
            f"GRANT USAGE ON SCHEMA facever TO {reader}",
            f"GRANT SELECT ON facever.galleries, {table} TO {reader}",
        )
        theirs = place.replace("postgres:@", f"{reader}@")
        assert theirs != place
        try:
            with open_gallery(theirs) as gallery:
                assert gallery.names() == filled.names()
                assert gallery.search(draw(1)) == filled.search(draw(1))
                assert gallery.verify() == 40
                with pytest.raises(FileError, match="lacks a right"):
                    gallery.remove_person("P1")
            with monkeypatch.context() as patch:
                # Before everybody is looked up, which takes minutes.
                patch.delattr("facever.stages.gallery.threshold._read_all")
                with pytest.raises(FileError, match="lacks a right"):
                    choose_threshold(theirs, fpir=0.2)
            new = theirs.replace("gallery=", "gallery=new")
            with pytest.raises(FileError, match="lacks a right"):
                create_gallery(new, 4)
        finally:
            run(place, f"DROP OWNED BY {reader}", f"DROP ROLE {reader}")

    def test_a_server_that_takes_no_changes_is_searched(
        self, filled: AnyGallery
    ) -> None:
        only = f"{filled.place}&options=-c%20default_transaction_read_only%3Don"
        with open_gallery(only) as gallery:
            assert gallery.names() == filled.names()
            gallery.search(draw(1))

    @pytest.mark.parametrize(
        ("state", "message"),
        [
            ("25006", "takes no changes, as a replica does"),
            ("53100", "disk is full; this changed nothing"),
            ("53200", "has no memory left"),
            # Of parallel workers that end when the server is killed.
            ("55000", "not any more .*; this changed nothing; start it"),
        ],
    )
    def test_what_the_server_refuses_is_one_line(
        self, filled: AnyGallery, state: str, message: str
    ) -> None:
        """The server raises it itself, as a trigger that came after the opening."""
        table = table_of(str(filled.place))
        function = f"{table}_refuse"
        run(
            str(filled.place),
            f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$",
            f"CREATE TRIGGER refuse BEFORE INSERT ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {function}()",
        )
        with pytest.raises(FileError, match=message) as caught:
            filled.add(["Ann"], draw(1), ["1"])
        assert "\n" not in str(caught.value)
        assert len(filled) == 40

    def test_without_the_extension_and_the_right_to_bring_it(
        self, postgres_place: Place
    ) -> None:
        place = postgres_place()
        name = f"bare{os.getpid()}"
        run(place, f"CREATE DATABASE {name}", f"CREATE ROLE {name} LOGIN")
        theirs = place.replace("postgres:@/postgres?", f"{name}@/{name}?")
        try:
            with pytest.raises(FileError, match=r"CREATE EXTENSION vector in this"):
                create_gallery(theirs, 4)
        finally:
            run(place, f"DROP DATABASE {name}", f"DROP ROLE {name}")

    def test_a_database_that_is_not_there(self, postgres_server: str) -> None:
        place = postgres_server.replace("/postgres?", "/nowhere?") + "&gallery=x"
        with pytest.raises(FileError, match="nowhere"):
            open_gallery(place)

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("_OLDEST_SERVER", 99, "need PostgreSQL 99 or later, this is 18"),
            ("_OLDEST_VECTOR", (9, 0), "need pgvector 9.0 or later.* ALTER EXTENSION"),
        ],
    )
    def test_a_server_that_is_too_old(
        self,
        postgres_place: Place,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        value: Any,
        message: str,
    ) -> None:
        create_gallery(postgres_place(), 4).close()
        monkeypatch.setattr(tables, name, value)
        with pytest.raises(FileError, match=message):
            create_gallery(postgres_place(), 4)

    def test_another_programs_table_is_left_alone(self, postgres_place: Place) -> None:
        place = postgres_place()
        name = f"taken{os.getpid()}"
        run(place, f"CREATE DATABASE {name}")
        theirs = place.replace("/postgres?", f"/{name}?")
        try:
            run(
                theirs,
                "CREATE SCHEMA facever",
                "CREATE TABLE facever.galleries (name text, picture text)",
                "INSERT INTO facever.galleries VALUES ('a', 'b')",
            )
            for attempt in (
                lambda: create_gallery(theirs, 4),
                lambda: open_gallery(theirs),
            ):
                with pytest.raises(FileError):
                    attempt()
            assert run(theirs, "SELECT * FROM facever.galleries") == [("a", "b")]
        finally:
            run(place, f"DROP DATABASE {name} WITH (FORCE)")

    def test_embeddings_without_a_direction_are_refused(
        self, filled: AnyGallery
    ) -> None:
        with pytest.raises(DataError):
            filled.add(["Ann"], np.zeros((1, 8)), ["1"])
