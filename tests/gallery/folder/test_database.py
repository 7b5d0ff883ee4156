import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

import facever
from facever.errors import FaceverError, FileError, GalleryError
from facever.gallery.checksums import entry_checksum, meta_checksum
from facever.gallery.folder.database import DATABASE_NAME, Database
from facever.gallery.folder.gallery import Gallery

BATCH = 3

# Adds batches of three, named after writer and batch, and acknowledges each by a line.
WRITER = """
import json, sys
import numpy as np
from facever.gallery.folder.gallery import Gallery
folder, writer, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
gallery = Gallery(folder)
for batch in range(count):
    names = [f"{writer}-{batch}"] * 3
    vectors = np.eye(5)[[batch % 5] * 3] + np.arange(3)[:, None]
    ids = gallery.add(names, vectors, ["0", "1", "2"])
    print(json.dumps([names[0], ids]), flush=True)
"""

CREATOR = """
import sys
from facever.gallery.folder.gallery import Gallery
for number in range(10**6):
    Gallery.create(f"{sys.argv[1]}/{number}", 4, "a" * 64).close()
    print(number, flush=True)
"""


def start(script: str, *arguments: object) -> "subprocess.Popen[str]":
    package = Path(facever.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"},
    )


def kill_while_busy(process: "subprocess.Popen[str]", seconds: float) -> list[str]:
    """Kill a process some time after its first line; give its whole lines."""
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(seconds)
    process.kill()
    rest = process.stdout.read()
    process.wait()
    assert process.returncode == -9
    return [line for line in (first + rest).splitlines(True) if line.endswith("\n")]


def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    folder = tmp_path / "people"
    Gallery.create(folder, 5).close()
    acknowledged: dict[str, list[str]] = {}
    for attempt in range(4):
        writer = start(WRITER, folder, f"w{attempt}", 10**6)
        lines = kill_while_busy(writer, random.uniform(0, 0.2))
        acknowledged |= dict(json.loads(line) for line in lines)

        with Gallery(folder) as gallery:
            counts = gallery.names()
            assert set(counts.values()) == {BATCH}, "half a batch is there"
            assert acknowledged.keys() <= counts.keys()
            # At most the batch that was being acknowledged, one each kill.
            assert len(counts) - len(acknowledged) <= attempt + 1
            for name, ids in acknowledged.items():
                assert [gallery.find(name, source) for source in "012"] == ids
            [matches] = gallery.search(np.ones((1, 5)), k=10**6)
            assert len(matches) == BATCH * len(counts)
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_killed_creator_leaves_no_half_made_gallery(tmp_path: Path) -> None:
    for attempt in range(2):
        folder = tmp_path / str(attempt)
        lines = kill_while_busy(start(CREATOR, folder), random.uniform(0, 0.1))
        made = [path for path in folder.iterdir() if not path.name.startswith(".")]
        assert len(lines) <= len(made) <= len(lines) + 1
        for path in made:
            with Gallery(path, "a" * 64) as gallery:
                assert len(gallery) == 0


def test_readers_see_whole_batches_while_two_processes_write(tmp_path: Path) -> None:
    folder = tmp_path / "people"
    Gallery.create(folder, 5).close()
    writers = [start(WRITER, folder, name, 60) for name in "ab"]
    seen = []
    with Gallery(folder) as reader:
        while any(writer.poll() is None for writer in writers):
            [matches] = reader.search(np.ones((1, 5)), k=10**6)
            names = [match.name for match in matches]
            assert all(names.count(name) == BATCH for name in set(names))
            assert len({match.id for match in matches}) == len(matches)
            info = reader.info()
            assert info.num_embeddings == BATCH * info.num_people
            seen.append(len(matches))
        outputs = [writer.communicate()[0] for writer in writers]
        [matches] = reader.search(np.ones((1, 5)), k=10**6)
    assert seen == sorted(seen)
    assert [writer.returncode for writer in writers] == [0, 0]
    ids = [
        row_id
        for output in outputs
        for line in output.splitlines()
        for row_id in json.loads(line)[1]
    ]
    assert len(ids) == 2 * 60 * BATCH
    assert {match.id for match in matches} == set(ids)


def test_a_second_writer_waits_for_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "people"
    Gallery.create(folder, 2).close()
    first = Database(folder)
    order = []

    def write() -> None:
        with Gallery(folder) as second:
            second.add(["Ann"], np.ones((1, 2)), ["1"])
            order.append("second")

    thread = threading.Thread(target=write)
    with first.writing():
        thread.start()
        time.sleep(0.3)
        with Gallery(folder) as reader:
            assert len(reader) == 0, "readers do not wait"
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    first.close()


def test_a_writer_that_waits_too_long_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "people"
    monkeypatch.setattr("facever.gallery.folder.database._BUSY_SECONDS", 0.05)
    with Gallery.create(folder, 2) as second:
        first = Database(folder)
        with (
            first.writing(),
            pytest.raises(GalleryError, match=r"writing for over 0\.05 s"),
        ):
            second.add(["Ann"], np.ones((1, 2)), ["1"])
        first.close()
        second.add(["Ann"], np.ones((1, 2)), ["1"])
        assert len(second) == 1


def test_an_error_halfway_adds_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "people"
    with Gallery.create(folder, 1000) as gallery:
        gallery.add(["Ann"], np.ones((1, 1000)), ["1"])
        # As on a full disk: the database may not grow beyond 10 pages of 16 KiB.
        gallery._store._database.execute("PRAGMA max_page_count = 10")
        count = 100
        with pytest.raises(FileError, match="full"):
            gallery.add(
                ["Bob"] * count, np.ones((count, 1000)), [*map(str, range(count))]
            )
        assert gallery.names() == {"Ann": 1}
        gallery.add(["Bob"], np.ones((1, 1000)), ["1"])
    with Gallery(folder) as gallery:
        assert gallery.names() == {"Ann": 1, "Bob": 1}


def make(folder: Path) -> Path:
    """A gallery of 200 embeddings in one file of many pages."""
    with Gallery.create(folder, 64) as gallery:
        vectors = np.random.default_rng(0).normal(size=(200, 64))
        names = [f"person {row // 2}" for row in range(200)]
        gallery.add(names, vectors, [f"{row}.jpg" for row in range(200)])
    return folder / DATABASE_NAME


def change(database: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement, values)


def forge_meta(database: Path, key: str, value: object) -> None:
    """Change a setting, with the checksum that belongs to it."""
    with closing(sqlite3.connect(database)) as connection, connection:
        rows = dict(connection.execute("SELECT key, value FROM meta"))
        found = {name: json.loads(text) for name, text in rows.items()}
        del found["checksum"]
        found[key] = value
        found["checksum"] = meta_checksum(found)
        for name, content in found.items():
            connection.execute(
                "UPDATE meta SET value = ? WHERE key = ?", (json.dumps(content), name)
            )


def forge_entries(database: Path, fields: str, origin: str | None = None) -> None:
    """Change all entries, with the checksums that belong to them."""
    with closing(sqlite3.connect(database)) as connection, connection:
        for texts in list(
            connection.execute("SELECT id, name, source, added FROM entries")
        ):
            connection.execute(
                "UPDATE entries SET fields = ?, origin = ?, entry_checksum = ? "
                "WHERE id = ?",
                (fields, origin, entry_checksum((*texts, fields, origin)), texts[0]),
            )


def overwrite(database: Path, start: int, count: int) -> None:
    content = bytearray(database.read_bytes())
    content[start : start + count] = b"\xa5" * count
    database.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a text file": (lambda path: path.write_text("hello " * 99), r"is damaged \("),
    "its header is lost": (lambda path: overwrite(path, 0, 100), r"is damaged \("),
    "its pages are lost": (
        lambda path: overwrite(path, 16384, 80000),
        r"is damaged \(",
    ),
    "cut short": (lambda path: os.truncate(path, 40000), r"is damaged \("),
    "empty": (lambda path: os.truncate(path, 0), "not a gallery's database"),
    "a strange version": (
        lambda path: change(path, "UPDATE meta SET value='x' WHERE key='format'"),
        "metadata is unreadable",
    ),
    "a version without end": (
        lambda path: change(path, "UPDATE meta SET value='1e999' WHERE key='format'"),
        "metadata is unreadable",
    ),
    "deep metadata": (
        lambda path: change(path, "UPDATE meta SET value=?", "[" * 10**5),
        "metadata is unreadable",
    ),
    "a forged size": (
        lambda path: forge_meta(path, "embedding_size", -64),
        "metadata is unreadable",
    ),
    "a forged threshold": (
        lambda path: forge_meta(
            path,
            "threshold",
            {"cosine": 7.0, "rule": "far", "rate": 0.1, "num_embeddings": 5},
        ),
        "metadata is unreadable",
    ),
    "forged fields": (
        lambda path: forge_entries(path, "[1]"),
        "the entry of '.* by its checksum",
    ),
    "deep fields": (
        lambda path: forge_entries(path, '{"a":' * 10**5),
        "the entry of '.* by its checksum",
    ),
    "a forged origin": (
        lambda path: forge_entries(path, "{}", '{"path": 5}'),
        "the entry of '.* by its checksum",
    ),
    "short embedding": (
        lambda path: change(path, "UPDATE entries SET embedding=x'00' WHERE id > 'c'"),
        "the embedding of '[c-f].* by its checksum",
    ),
    "long embedding": (
        lambda path: change(
            path, "UPDATE entries SET embedding=zeroblob(256) WHERE number=7"
        ),
        "the embedding of '.* by its checksum",
    ),
    "a name changed": (
        lambda path: change(path, "UPDATE entries SET name='x' WHERE number=7"),
        "the entry of '.* by its checksum",
    ),
    "a threshold changed": (
        lambda path: change(path, "UPDATE meta SET value='0.1' WHERE key='threshold'"),
        "metadata is unreadable",
    ),
    "text that is not UTF-8": (
        lambda path: change(path, "UPDATE entries SET name=CAST(x'ff' AS TEXT)"),
        r"is damaged \(",
    ),
}


def look_at(folder: Path) -> None:
    with Gallery(folder) as gallery:
        [found] = gallery.search(np.ones((1, 64)), k=200)
        gallery.origin(found[0].id)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_refused_and_left_alone(
    tmp_path: Path, damage: str
) -> None:
    database = make(tmp_path / "people")
    do_damage, message = DAMAGES[damage]
    do_damage(database)
    before = database.read_bytes()

    with pytest.raises(FileError, match=message) as caught:
        look_at(tmp_path / "people")

    assert "\n" not in str(caught.value)
    assert str(tmp_path / "people") in str(caught.value)
    assert database.read_bytes() == before


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_never_ends_in_a_traceback(tmp_path: Path, seed: int) -> None:
    database = make(tmp_path / "people")
    rng = random.Random(seed)
    start = rng.randrange(database.stat().st_size)
    overwrite(database, start, rng.choice([1, 30, 3000]))
    with suppress(FaceverError), Gallery(tmp_path / "people") as gallery:
        gallery.names()
        gallery.info()
        gallery.search(np.ones((1, 64)), k=300)
        gallery.add(["New"], np.ones((1, 64)), ["new"])


def test_refuses_a_gallery_of_the_future(tmp_path: Path) -> None:
    database = make(tmp_path / "people")
    change(database, "UPDATE meta SET value='9' WHERE key='format'")
    with pytest.raises(GalleryError, match=r"has format 9, .* reads format 3; use"):
        Gallery(tmp_path / "people")


OTHER_SCHEMAS = {
    "CREATE TRIGGER evil AFTER INSERT ON entries BEGIN DELETE FROM entries "
    "WHERE number < new.number; END": "its 'trigger evil' is not facever's",
    "CREATE VIEW people AS SELECT name FROM entries": "its 'view people' is not",
    "CREATE TABLE notes (text TEXT)": "its 'table notes' is not facever's",
    "CREATE INDEX fast ON entries (added)": "its 'index fast' is not facever's",
    "ALTER TABLE entries ADD COLUMN age INTEGER": "its 'table entries' is changed",
    "ALTER TABLE meta ADD COLUMN age INTEGER": "its 'table meta' is changed",
    "DROP TRIGGER renamed": "its 'trigger renamed' is missing",
    "DROP TABLE changes": "its 'table changes' is missing",
    "ANALYZE": "its 'table sqlite_stat1' is not facever's",
}


@pytest.mark.parametrize("statement", OTHER_SCHEMAS)
def test_a_database_with_other_tables_is_not_opened(
    tmp_path: Path, statement: str
) -> None:
    change(make(tmp_path / "people"), statement)
    with pytest.raises(FileError) as caught:
        Gallery(tmp_path / "people")
    assert OTHER_SCHEMAS[statement] in str(caught.value)


def test_a_view_in_the_place_of_a_table_is_not_even_read(tmp_path: Path) -> None:
    database = make(tmp_path / "people")
    change(database, "DROP TABLE meta")
    # Whoever reads it never comes back.
    change(
        database,
        "CREATE VIEW meta AS WITH RECURSIVE endless(key) AS (SELECT 1 UNION ALL "
        "SELECT key + 1 FROM endless) SELECT key, COUNT(*) AS value FROM endless",
    )
    with pytest.raises(FileError, match="its 'view meta' is not facever's"):
        Gallery(tmp_path / "people")


def test_refuses_what_is_not_a_gallery(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such gallery"):
        Gallery(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileError, match=f"not a gallery \\(no {DATABASE_NAME}"):
        Gallery(tmp_path)
    file = tmp_path / "file"
    file.write_text("hello")
    with pytest.raises(FileError, match="not a gallery"):
        Gallery(file)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    change(foreign / DATABASE_NAME, "CREATE TABLE meta (key TEXT, value TEXT)")
    with pytest.raises(FileError, match="not a gallery's database"):
        Gallery(foreign)


def test_creates_no_gallery_over_anything(tmp_path: Path) -> None:
    make(tmp_path / "people")
    with pytest.raises(GalleryError, match="there is a gallery already"):
        Gallery.create(tmp_path / "people", 64)
    with Gallery(tmp_path / "people") as gallery:
        assert len(gallery) == 200
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.jpg").write_text("hello")
    (tmp_path / "file").write_text("hello")
    for name in ("full", "file", "file/below"):
        with pytest.raises(FileError, match="cannot make a gallery here"):
            Gallery.create(tmp_path / name, 64)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["file", "full", "people"]
    assert (tmp_path / "full" / "photo.jpg").read_text() == "hello"
