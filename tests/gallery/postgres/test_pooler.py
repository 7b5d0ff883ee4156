"""A pooler between gallery and server, which gives each transaction any connection.

A stand-in, and PgBouncer itself where it is installed.
"""

import pwd
import selectors
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import psycopg
import pytest

from facever.errors import FileError
from facever.gallery.entries import Filter
from facever.gallery.opening import create_gallery, open_gallery
from facever.gallery.postgres import gallery as gallery_module

_SSL, _GSS = 80877103, 80877104


class Connection:
    """A socket, read message by message."""

    def __init__(self, plain: socket.socket) -> None:
        self.plain = plain
        self.waiting = b""

    def startup(self) -> bytes:
        """The client's first message; without encryption."""
        while True:
            text = self.plain.recv(8192)
            kind = struct.unpack(">i", text[4:8])[0]
            if kind not in (_SSL, _GSS):
                return text
            self.plain.sendall(b"N")

    def messages(self) -> list[bytes]:
        """What has come, in whole messages; an empty one if the other side is gone."""
        received = self.plain.recv(1 << 16)
        if not received:
            return [b""]
        self.waiting += received
        found = []
        while len(self.waiting) >= 5:
            end = 1 + struct.unpack(">i", self.waiting[1:5])[0]
            if len(self.waiting) < end:
                break
            found.append(self.waiting[:end])
            self.waiting = self.waiting[end:]
        return found


class Pooler:
    """As PgBouncer with ``pool_mode = transaction``, and two connections."""

    def __init__(self, socket_path: str) -> None:
        self._path = socket_path
        self._servers: Queue[Connection] = Queue()
        self._greeting: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.num_given = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        while not self._servers.empty():
            self._servers.get().plain.close()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            client = Connection(plain)
            startup = client.startup()
            if not self._greeting:
                for _ in range(2):
                    self._servers.put(self._connect(startup))
            plain.sendall(b"".join(self._greeting))
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _connect(self, startup: bytes) -> Connection:
        plain = socket.socket(socket.AF_UNIX)
        plain.connect(self._path)
        plain.sendall(startup)
        server = Connection(plain)
        self._greeting = []
        while not self._greeting or self._greeting[-1][:1] != b"Z":
            self._greeting += server.messages()
        return server

    def _serve(self, client: Connection) -> None:
        with client.plain:
            while (messages := client.messages())[:1] != [b""]:
                if [each[:1] for each in messages] == [b"X"]:
                    return
                # The one that was given back first: not the one of last time.
                server = self._servers.get(timeout=60)
                self.num_given += 1
                self._transact(client, server, messages)
                self._servers.put(server)

    def _transact(
        self, client: Connection, server: Connection, messages: list[bytes]
    ) -> None:
        """Hand messages on until no transaction is open and no answer is missing."""
        missing = 0
        with selectors.DefaultSelector() as selector:
            for each in (client, server):
                selector.register(each.plain, selectors.EVENT_READ, each)
            while True:
                for message in messages:
                    missing += message[:1] in (b"Q", b"S")
                server.plain.sendall(b"".join(messages))
                messages = []
                while not messages:
                    ready = [key.data for key, _ in selector.select(60)]
                    assert ready
                    if client in ready:
                        messages = client.messages()
                        assert messages != [b""], "left within a transaction"
                    if server in ready:
                        answers = server.messages()
                        client.plain.sendall(b"".join(answers))
                        ends = [each for each in answers if each[:1] == b"Z"]
                        missing -= len(ends)
                        if ends and missing == 0 and ends[-1][5:] == b"I":
                            assert not messages
                            return


class PgBouncer:
    """The real one; it refuses to run as root, so it runs as the server's user."""

    def __init__(self, server: Path, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        user = pwd.getpwuid(server.stat().st_uid).pw_name
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            f"""
            [databases]
            postgres = host={server} user=postgres
            * = host={server} user=postgres
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {self.port}
            unix_socket_dir =
            auth_type = any
            stats_users = stats
            pool_mode = transaction
            server_round_robin = 1
            default_pool_size = 2
            min_pool_size = 2
            """
        )
        self._process = subprocess.Popen(
            ["pgbouncer", "-u", user, str(settings)], stderr=subprocess.DEVNULL
        )
        for _ in range(100):
            try:
                self._ask("SHOW VERSION")
                return
            except psycopg.OperationalError:
                time.sleep(0.1)
        pytest.fail("PgBouncer did not start")

    def _ask(self, question: str) -> dict[str, Any]:
        with psycopg.connect(
            f"postgresql://stats@127.0.0.1:{self.port}/pgbouncer",
            autocommit=True,
            cursor_factory=psycopg.ClientCursor,
            row_factory=psycopg.rows.dict_row,
        ) as connection:
            rows = connection.execute(question).fetchall()
        return next((row for row in rows if row.get("database") == "postgres"), {})

    @property
    def num_given(self) -> int:
        number: int = self._ask("SHOW STATS")["total_xact_count"]
        return number

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


@pytest.fixture(params=["stand-in", "PgBouncer"])
def pooler(
    request: pytest.FixtureRequest, running_postgres: Any, tmp_path: Path
) -> Iterator[Pooler | PgBouncer]:
    path = str(running_postgres.get_postmaster_info().socket_path)
    if request.param == "stand-in":
        pooler: Pooler | PgBouncer = Pooler(path)
    elif shutil.which("pgbouncer") is None:
        pytest.skip("PgBouncer is not installed")
    else:
        pooler = PgBouncer(Path(path).parent, tmp_path)
    yield pooler
    pooler.close()


def test_all_goes_well_through_a_pooler_of_transactions(
    pooler: Pooler | PgBouncer, postgres_place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery_module, "_ROWS_A_READ", 7)
    direct = postgres_place()
    name = direct.rpartition("=")[2]
    place = f"postgresql://postgres@127.0.0.1:{pooler.port}/postgres?gallery={name}"
    units = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    names = [f"P{row % 7}" for row in range(60)]
    sources = [f"{row}.jpg" for row in range(60)]
    with (
        create_gallery(place, 8) as one,
        open_gallery(place) as two,
        open_gallery(direct) as plain,
    ):
        ids = one.add(names, units, sources)
        for index in ("exact", "hnsw"):
            two.rebuild(index)
            for count in (1, 20):
                found = plain.search(units[:count], 3)
                assert one.search(units[:count], 3) == found
                assert two.search(units[:count], 3) == found
        assert one.names() == two.names() == plain.names()
        # A reader in the midst of all entries, while others change them.
        blocks = one.read()
        num_read = len(next(blocks)[0])
        two.remove(ids[:5])
        two.update_person("P1", "Ann", {"x": 1})
        assert num_read + sum(len(entries) for entries, _ in blocks) == 60
        new = {each.id: units[row] for row, each in enumerate(two.entries())}
        two.replace_model(new, [], "m" * 64, {})
        assert one.verify() == plain.verify() == 55
        assert one.entries(Filter(["Ann"])) == plain.entries(Filter(["Ann"]))
        assert one.info() == plain.info()
    assert pooler.num_given > 30


def test_a_server_lost_behind_a_pooler(
    pooler: Pooler | PgBouncer,
    postgres_server: str,
    postgres_place: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if isinstance(pooler, Pooler):
        pytest.skip("the stand-in does not connect again")
    monkeypatch.setattr(gallery_module, "_ROWS_A_READ", 7)
    name = postgres_place().rpartition("=")[2]
    place = f"postgresql://postgres@127.0.0.1:{pooler.port}/postgres?gallery={name}"
    units = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)

    def lose() -> None:
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'facever'"
            )

    with create_gallery(place, 8) as gallery:
        gallery.add(["Ann"] * 40, units, [f"{row}.jpg" for row in range(40)])
        for call in (
            gallery.names,
            lambda: gallery.search(units[:20]),
            lambda: gallery.add(["Bob"], units[:1], ["x"]),
            lambda: gallery.remove_person("Bob"),
            gallery.verify,
        ):
            lose()
            call()
        blocks = gallery.read()
        next(blocks)
        lose()
        with pytest.raises(FileError, match="does not answer"):
            list(blocks)
        assert len(gallery) == 40
