"""Silent and slow clients leave the server answering."""

import asyncio
import logging
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from unittest.mock import Mock
from urllib.parse import urlsplit

import pytest
from uvicorn.server import ServerState

from facever.serving import connections

QUICK = 0.6  # In the place of ten seconds.


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SECONDS_TO_BEGIN", QUICK)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connect(address: str, opened: ExitStack) -> socket.socket:
    parts = urlsplit(address)
    assert parts.hostname is not None
    assert parts.port is not None
    sock = socket.create_connection((parts.hostname, parts.port), timeout=30)
    opened.enter_context(closing(sock))
    return sock


def check_answers(address: str) -> None:
    with urllib.request.urlopen(f"{address}/api/gallery", timeout=30) as answer:
        assert answer.status == 200


def head(address: str, *lines: str) -> bytes:
    lines = ("POST /api/verify HTTP/1.1", f"Host: {urlsplit(address).netloc}", *lines)
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def is_closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("count", [64, 500])
@pytest.mark.parametrize("sent", ["nothing", "half a head", "half a body"])
def test_many_silent_connections_leave_the_server_answering(
    address: str, opened: ExitStack, count: int, sent: str
) -> None:
    content = {
        "nothing": b"",
        "half a head": b"GET / HT",
        "half a body": head(address, "Content-Length: 1000") + b"x",
    }[sent]
    for number in range(count):
        connect(address, opened).sendall(content)
        if number % 50 == 49:
            check_answers(address)
    check_answers(address)


@pytest.mark.parametrize("reads", [False, True])
def test_an_answer_that_nobody_reads_is_given_up(
    monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    """The system keeps megabytes for a client, so its word that it is full is drawn."""
    monkeypatch.setattr(connections, "SECONDS_TO_BEGIN", 0.05)

    async def states() -> list[bool]:
        done = asyncio.Event()

        async def answer(scope: object, receive: object, send: object) -> None:
            await done.wait()

        config = connections.server_config(answer)
        config.load()
        protocol = connections.PatientProtocol(config, ServerState(), {})
        transport = Mock()
        transport.get_extra_info.return_value = None
        transport.is_closing.return_value = False
        protocol.connection_made(transport)
        protocol.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        waits = [protocol.waits]
        protocol.pause_writing()
        waits.append(protocol.waits)
        if reads:
            protocol.resume_writing()
            waits.append(protocol.waits)
        await asyncio.sleep(0.5)
        gave_up = transport.abort.called
        protocol.connection_lost(None)
        done.set()
        await asyncio.gather(*protocol.tasks)
        return [*waits, gave_up]

    assert asyncio.run(states()) == [
        False,
        True,
        *([False] if reads else []),
        not reads,
    ]


@pytest.mark.usefixtures("quick")
def test_a_silent_connection_is_closed_in_time(address: str, opened: ExitStack) -> None:
    begun = time.monotonic()
    assert is_closed(connect(address, opened))
    assert time.monotonic() - begun > 0.9 * QUICK


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("part", ["head", "body"])
def test_a_slow_request_is_closed_and_a_steady_one_answered(
    address: str, opened: ExitStack, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SLOWEST_BYTES_A_SECOND", 100)
    start = b"" if part == "head" else head(address, "Content-Length: 400")
    rest = head(address, "Content-Length: 0", "X: " + 300 * "y")
    rest = rest if part == "head" else 400 * b"x"

    slow = connect(address, opened)
    slow.sendall(start)
    begun = time.monotonic()
    with pytest.raises(OSError, match=r"reset|Broken pipe"):  # noqa: PT012
        for place in range(len(rest)):
            slow.sendall(rest[place : place + 1])
            time.sleep(0.02)
    assert time.monotonic() - begun > 0.9 * QUICK

    # It takes longer than that, but comes at ten times the slowest rate.
    steady = connect(address, opened)
    steady.sendall(start)
    for place in range(0, len(rest), 40):
        steady.sendall(rest[place : place + 40])
        time.sleep(0.04)
    assert steady.recv(12).startswith(b"HTTP/1.1 4")


@pytest.mark.usefixtures("quick")
def test_requests_on_a_kept_connection_have_deadlines_of_their_own(
    address: str, opened: ExitStack
) -> None:
    client = HTTPConnection(urlsplit(address).netloc, timeout=30)
    opened.enter_context(closing(client))
    client.connect()
    sock = client.sock
    for _ in range(4):
        client.request("GET", "/api/gallery")
        answer = client.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)
        time.sleep(0.5 * QUICK)
    assert client.sock is sock
    assert is_closed(sock)


def test_both_lengths_are_refused(address: str, opened: ExitStack) -> None:
    sock = connect(address, opened)
    both = head(address, "Content-Length: 5", "Transfer-Encoding: chunked")
    sock.sendall(both + b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    answer = sock.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"either Content-Length or Transfer-Encoding" in answer
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.usefixtures("quick")
def test_clients_that_go_away_are_no_errors(
    address: str, opened: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        sock = connect(address, opened)
        form = head(
            address,
            "Content-Length: 1000",
            "Content-Type: multipart/form-data; boundary=x",
        )
        sock.sendall(form + b"--x\r\n")
        assert is_closed(sock)
        check_answers(address)
    assert not [each for each in caplog.records if each.levelno > logging.WARNING]
