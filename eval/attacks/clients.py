"""Clients that are silent or slow, and others that ask meanwhile."""

import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from itertools import cycle
from pathlib import Path

from attacks.counting import Count
from attacks.kills import served

SECONDS_TO_SETTLE = 12
KINDS = ("nothing", "half a head", "half a body", "no second request")
SLOW_KINDS = ("a head byte by byte", "a body byte by byte", "reads no answers")


def silent_clients(folder: Path) -> Count:
    """64 and 500 connections that send nothing, or half of something."""
    count = Count()
    with served(folder) as (_, address):
        for num_clients in (64, 500):
            for kind in KINDS:
                ask_beside(address, num_clients, kind, count)
    return count


def slow_clients(folder: Path) -> Count:
    """64 and 500 connections on which something always happens, and nothing is done."""
    count = Count()
    with served(folder) as (_, address):
        for num_clients in (64, 500):
            for kind in SLOW_KINDS:
                ask_beside(address, num_clients, kind, count)
    return count


def ask_beside(address: str, num_clients: int, kind: str, count: Count) -> None:
    """Ten requests beside so many connections of a kind."""
    host, port = address.removeprefix("http://").strip("/").split(":")
    head = f"POST /api/verify HTTP/1.1\r\nHost: {host}:{port}\r\n"
    get = f"GET /page.js HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
    with ExitStack() as opened:
        clients = []
        for _ in range(num_clients):
            client = socket.create_connection((host, int(port)))
            opened.enter_context(closing(client))
            # So the system keeps little of answers that nobody reads.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            clients.append((client, sent(kind, head.encode(), get)))
        for number in range(11):
            if number == 1:
                # The server may have been busy with answers, which is no lock-out.
                time.sleep(SECONDS_TO_SETTLE)
            for client, parts in clients:
                # The server has closed the connections of those who wait too long.
                with suppress(OSError):
                    client.sendall(next(parts))
            if number:
                count.try_one(lambda: answers(f"{address}api/gallery"))


def sent(kind: str, head: bytes, get: bytes) -> Iterator[bytes]:
    """What a client of a kind sends, piece by piece."""
    body = head + b"Content-Length: 999\r\n\r\n"
    match kind:
        case "nothing":
            first, rest = b"", b""
        case "half a head":
            first, rest = b"GET / HT", b""
        case "half a body":
            first, rest = body + b"x", b""
        case "no second request":
            first, rest = get, b""
        case "a head byte by byte":
            first, rest = head, b"X-A: b\r\n"
        case "a body byte by byte":
            first, rest = body, b"x"
        case _:
            first, rest = get, get * 50
    yield first
    yield from (
        (bytes([byte]) for byte in cycle(rest)) if len(rest) < 50 else cycle([rest])
    )
    yield from cycle([b""])


def answers(address: str) -> bool:
    """Whether there is an answer within ten seconds."""
    with urllib.request.urlopen(address, timeout=10) as answer:
        return bool(answer.status == 200)
