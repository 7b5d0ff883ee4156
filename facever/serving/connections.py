"""Connections that wait for nobody: silent and slow clients cost the others nothing.

A request may take ten seconds, and one more for every 20 kB of it; so may a client that
does not read its answer. A client may hold a number of connections; if it opens another
one, or all clients together hold too many, the one that has been waiting for its client
longest is closed. So whoever sends a request is answered, however many connections are
silent.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS_TO_BEGIN = 10.0
SLOWEST_BYTES_A_SECOND = 20_000
MOST_OF_A_CLIENT = 64
MOST_OF_ALL = 256
_SECONDS_TO_FINISH = 5


def server_config(app: ASGIApp) -> uvicorn.Config:
    """How the application is served."""
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        # No page here opens web sockets, which would be outside the limits.
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SECONDS_TO_FINISH,
    )


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with deadlines for requests and limits of connections."""

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request; make room first."""
        super().connection_made(transport)
        everybody = [each for each in self.connections if each is not self]
        client = [each for each in everybody if _host(each) == _host(self)]
        for others, most in ((client, MOST_OF_A_CLIENT), (everybody, MOST_OF_ALL)):
            if len(others) >= most and not _close_longest_waiting(others):
                # All of them are being answered.
                self.app = service_unavailable
        self._deadline: asyncio.TimerHandle | None = None
        self._begin_to_wait()

    def data_received(self, data: bytes) -> None:
        """Give a request that grows more time; stop the clock when it is complete."""
        self._num_bytes += len(data)
        super().data_received(data)
        if self.waits:
            self._set_deadline()
        else:
            self._clear_deadline()

    def on_response_complete(self) -> None:
        """Wait for the next request; uvicorn closes a connection that stays silent."""
        # First, since requests that have come already are begun there.
        self._begin_to_wait()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._clear_deadline()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not read what it asked for."""
        super().pause_writing()
        self._begin_to_wait()

    def resume_writing(self) -> None:
        """Stop the clock if an answer is under way again."""
        super().resume_writing()
        if self.waits:
            self._begin_to_wait()
        else:
            self._clear_deadline()

    @property
    def waits(self) -> bool:
        """Whether it is for the client to send or to read, and for nobody else."""
        return (
            self.cycle is None
            or self.cycle.response_complete
            or self.cycle.more_body
            or self.flow.write_paused
        )

    def _begin_to_wait(self) -> None:
        self.waits_since = self.loop.time()
        self._num_bytes = 0
        self._set_deadline()

    def _set_deadline(self) -> None:
        self._clear_deadline()
        allowed = SECONDS_TO_BEGIN + self._num_bytes / SLOWEST_BYTES_A_SECOND
        self._deadline = self.loop.call_at(self.waits_since + allowed, self._expire)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        if not self.waits:
            return
        # Where the server reads no more, the client is not to blame.
        if self.flow.read_paused and not self.flow.write_paused:
            self._begin_to_wait()
            return
        self.transport.abort()


def _host(connection: Any) -> str | None:
    client: tuple[str, int] | None = connection.client
    return client[0] if client else None


def _close_longest_waiting(connections: Sequence[Any]) -> bool:
    """Close one of the connections that wait for their client, if there is one."""
    waiting = [each for each in connections if each.waits]
    if not waiting:
        return False
    longest = min(waiting, key=lambda each: each.waits_since)
    longest.transport.abort()
    return True
