"""Requests at the same time: the same answers as alone, and none for nobody."""

import json
import socket
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI

from facever.faces.aligner import AlignedPhoto
from facever.inference.embedder import Embedder
from facever.serving import admission
from facever.serving.admission import Admission
from facever.serving.binding import listen
from facever.serving.connections import server_config
from facever.serving.uploads import Upload

Answer = tuple[int, dict[str, Any]]
Ask = Callable[..., "Future[Answer]"]


class Gate:
    """Holds up the search for faces, and counts the photos in each."""

    def __init__(self, align: Callable[..., list[AlignedPhoto]]) -> None:
        self._align = align
        self.open = threading.Event()
        self.reached = threading.Event()
        self.sizes: list[int] = []

    def align(
        self, embedder: Embedder, photos: Sequence[Any], *rest: Any
    ) -> list[AlignedPhoto]:
        self.sizes.append(len(photos))
        self.reached.set()
        assert self.open.wait(60)
        return self._align(embedder, photos, *rest)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(Embedder.align)
    monkeypatch.setattr(Embedder, "align", lambda *given: gate.align(*given))
    yield gate
    gate.open.set()


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> list[Admission]:
    """Counts the requests in the server that is made next."""
    made: list[Admission] = []
    begin = Admission.__init__

    def note(self: Admission) -> None:
        begin(self)
        made.append(self)

    monkeypatch.setattr(Admission, "__init__", note)
    return made


def blank(height: int, width: int) -> bytes:
    """A photo without a face."""
    return cv2.imencode(".png", np.zeros((height, width, 3), np.uint8))[1].tobytes()


def wait_until(is_so: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(3000):
        if is_so():
            return
        pause.wait(0.01)
    raise AssertionError("this has not come to pass in half a minute")


@pytest.fixture
def ask(running: list[Admission], address: str) -> Iterator[Ask]:
    """Send a photo by a thread of its own; ``running`` is of its server."""
    with ThreadPoolExecutor(40) as threads:
        yield lambda content, **fields: threads.submit(search, address, content, fields)


def form(content: bytes, fields: dict[str, Any]) -> bytes:
    parts = [
        f'--x\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    head = '--x\r\ncontent-disposition: form-data; name="photo"; filename="a"\r\n\r\n'
    return "".join([*parts, head]).encode() + content + b"\r\n--x--\r\n"


def search(address: str, content: bytes, fields: dict[str, Any]) -> Answer:
    asked = urllib.request.Request(
        f"{address}/api/search",
        form(content, fields),
        {"content-type": "multipart/form-data; boundary=x"},
    )
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers) | json.load(error)


def same(one: Any, other: Any) -> bool:
    """Whether answers agree; rounding may depend on who was asked together."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(
        one == (pytest.approx(other, abs=1e-6) if type(one) is float else other)
    )


def test_together_answers_are_those_of_photos_sent_alone(
    ask: Ask, gate: Gate, album: dict[str, Any], running: list[Admission]
) -> None:
    sent: list[tuple[bytes, dict[str, Any]]] = [
        (album["Ann"].png, {}),
        (album["Bob"].png, {"by": "photo"}),
        (blank(80, 80), {}),
        (album["both"].png, {"face": 1}),
        (b"hello", {}),
        (album["both"].png, {"face": 9}),
        (album["who"].png, {"k": 1}),
        (album["other Ann"].png[:-50], {}),
        (album["both"].png, {}),
    ]
    gate.open.set()
    alone = [ask(content, **fields).result() for content, fields in sent]
    assert Counter(status for status, _ in alone) == {200: 5, 422: 3, 415: 1}
    assert set(gate.sizes) == {1}
    names = [alone[place][1]["name"] for place in (0, 1, 3, 8)]
    assert names == ["Ann", "Bob", "Ann", None]

    gate.open.clear()
    gate.reached.clear()
    gate.sizes.clear()
    first = ask(album["Ann"].png)
    assert gate.reached.wait(60)
    together = [ask(content, **fields) for content, fields in 2 * sent]
    # What is no photo is answered meanwhile.
    assert [together[place].result()[0] for place in (4, 7, 13, 16)] == [
        *(415, 422, 415, 422)
    ]
    [requests] = running
    wait_until(lambda: len(requests) == 15)
    gate.open.set()
    for reply, expected in zip(together, 2 * alone, strict=True):
        status, answer = reply.result()
        assert status == expected[0]
        answer.pop("date", None), expected[1].pop("date", None)
        assert same(answer, expected[1])
    assert first.result()[0] == 200
    assert max(gate.sizes) > 1
    assert sum(gate.sizes) == 15


def test_one_more_than_there_is_room_for_is_asked_to_come_again(
    ask: Ask,
    gate: Gate,
    album: dict[str, Any],
    running: list[Admission],
    address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "MOST_REQUESTS", 3)
    waiting = [ask(album["Ann"].png) for _ in range(3)]
    [requests] = running
    wait_until(lambda: len(requests) == 3)
    status, answer = ask(album["Ann"].png).result(60)
    assert status == 503
    assert answer["error"] == "3 requests are being answered; ask again in a second"
    assert answer["retry-after"] == "1"
    with urllib.request.urlopen(f"{address}/api/people", timeout=60) as others:
        assert others.status == 200
    gate.open.set()
    assert [reply.result()[0] for reply in waiting] == [200] * 3
    assert ask(album["Ann"].png).result()[0] == 200


def test_who_waits_too_long_is_told_and_leaves_the_line(
    ask: Ask,
    gate: Gate,
    album: dict[str, Any],
    running: list[Admission],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = ask(album["Ann"].png)
    assert gate.reached.wait(60)
    monkeypatch.setattr(admission, "LONGEST_SECONDS", 0.1)
    late = [ask(album["Bob"].png) for _ in range(4)]
    assert [reply.result()[0] for reply in late] == [503] * 4
    assert "not answered within" in late[0].result()[1]["error"]
    [requests] = running
    wait_until(lambda: len(requests) == 1)
    monkeypatch.undo()
    gate.open.set()
    assert first.result()[0] == 200
    assert sum(gate.sizes) == 1


def test_nothing_is_done_for_those_who_have_gone(
    ask: Ask,
    gate: Gate,
    album: dict[str, Any],
    running: list[Admission],
    address: str,
) -> None:
    first = ask(album["Ann"].png)
    assert gate.reached.wait(60)
    [requests] = running
    host = urlsplit(address).netloc
    body = form(album["Bob"].png, {})
    head = (
        f"POST /api/search HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port))) as impatient:
        impatient.sendall(head.encode() + body)
        wait_until(lambda: len(requests) == 2)
    wait_until(lambda: len(requests) == 1)
    gate.open.set()
    assert first.result()[0] == 200
    assert ask(album["Ann"].png).result()[0] == 200
    assert gate.sizes == [1, 1]


def test_large_photos_keep_no_small_one_waiting(
    ask: Ask, album: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    decode = Upload.decode

    def decode_slowly(upload: Upload, max_pixels: int) -> np.ndarray:
        if upload.num_pixels() > 1_000_000:
            assert goes_on.wait(60)
        return decode(upload, max_pixels)

    monkeypatch.setattr(Upload, "decode", decode_slowly)
    large = blank(1001, 1000)
    slow = [ask(large) for _ in range(20)]
    assert [ask(album["Ann"].png).result(60)[0] for _ in range(3)] == [200] * 3
    assert not any(reply.done() for reply in slow)
    goes_on.set()
    for reply in slow:
        status, answer = reply.result()
        assert status == 422
        assert answer["error"].startswith("no face found")


def test_who_waits_when_the_server_is_stopped_is_answered(
    make_app: Callable[..., FastAPI],
    gate: Gate,
    album: dict[str, Any],
    running: list[Admission],
) -> None:
    sock = listen("127.0.0.1", 0)
    address = f"http://127.0.0.1:{sock.getsockname()[1]}"
    config = server_config(make_app())
    config.timeout_graceful_shutdown = 60
    server = uvicorn.Server(config)
    serving = threading.Thread(target=server.run, args=([sock],))
    serving.start()
    [requests] = running
    with ThreadPoolExecutor(6) as threads:
        replies = [
            threads.submit(search, address, album["Ann"].png, {}) for _ in range(6)
        ]
        wait_until(lambda: len(requests) == 6)
        server.should_exit = True
        wait_until(lambda: not sock_accepts(address))
        gate.open.set()
        assert [reply.result()[0] for reply in replies] == [200] * 6
    serving.join()


def sock_accepts(address: str) -> bool:
    name, _, port = urlsplit(address).netloc.partition(":")
    try:
        socket.create_connection((name, int(port))).close()
    except OSError:
        return False
    return True
