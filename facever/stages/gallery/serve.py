"""The stage ``facever gallery serve``: a local web page to ask a gallery."""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING

from facever.choices import DEFAULT_MAX_PIXELS, DEFAULT_MODEL, Backend
from facever.errors import ParameterError, TerminatedError
from facever.faces.aligner import AlignRecipe
from facever.faces.photos import check_max_pixels
from facever.gallery.base import AnyGallery, Place
from facever.inference.embedder import load
from facever.results import Result, counted
from facever.runtimes import num_threads
from facever.stages.gallery.faces import detector_in_use
from facever.training.sigterm import watch_for_sigterm

if TYPE_CHECKING:
    from fastapi import FastAPI

_NEEDED = ("fastapi", "uvicorn", "python_multipart")


@dataclass(frozen=True)
class ReadyServer(Result):
    """A server that answers from now on.

    Attributes:
        gallery: The gallery's folder or URL.
        num_embeddings: Number of photos that are enrolled.
        num_people: Number of people who are enrolled.
        can_write: Whether people can be enrolled and removed.
        asks_for_token: Whether requests must send a token.
        token: What a request must send, if it was made up; None if only this machine is
            served, or the user has chosen the token and knows it.
        address: What to open in a browser.
    """

    gallery: str
    num_embeddings: int
    num_people: int
    can_write: bool
    asks_for_token: bool
    token: str | None
    address: str

    def lines(self) -> list[str]:
        """What is served, the token, and where."""
        change = "can be changed" if self.can_write else "is read-only (see --write)"
        lines = [
            f"{self.gallery}: {self.num_embeddings} faces of {self.num_people} people; "
            f"it {change}"
        ]
        if self.asks_for_token:
            lines += [
                f"Authorization: Bearer {self.token or 'the token that was given'}",
                "photos and token travel unencrypted: put TLS in front of the server",
            ]
        return [*lines, f"open {self.address} in a browser; Ctrl-C stops the server"]


@dataclass(frozen=True)
class StoppedServer(Result):
    """A server that was stopped by Ctrl-C.

    Attributes:
        gallery: The gallery's folder or URL.
        num_refused: Number of faces that were refused for their quality.
    """

    gallery: str
    num_refused: int

    def lines(self) -> list[str]:
        """One line that says so."""
        refused = f"; refused for low quality: {counted(self.num_refused, 'face')}"
        return [
            f"{self.gallery}: the server has stopped{refused * bool(self.num_refused)}"
        ]


def serve(
    gallery: Place,
    model: str | Path = DEFAULT_MODEL,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    write: bool = False,
    token: str | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    min_quality: Mapping[str, float] | None = None,
    backend: Backend = "auto",
    when_ready: Callable[[ReadyServer], None],
) -> StoppedServer:
    """Serve a web page, and the API behind it, until Ctrl-C.

    Args:
        gallery: The gallery's folder or URL.
        model: The model file, which must be the gallery's; by default the ready model.
        host: Address to listen at. A loopback address serves this machine alone; at any
            other, each request must send a token.
        port: Port to listen at; 0 for any that is free.
        write: Whether people can be enrolled and removed.
        token: The token that requests must send; None makes one up.
        max_pixels: Height times width of the largest photo that is taken.
        min_quality: The least of some ``FACE_QUALITIES``; a face below one of them is
            neither looked up, compared nor enrolled, and counted.
        backend: What computes the networks; see ``Embedder``.
        when_ready: Function that is called once, when the server answers.

    Raises:
        ParameterError: If a package is not installed, the address cannot be listened
            at, or the token is too short.
        FileError: If the gallery or the model file is missing or damaged.
        MismatchError: If the gallery was made for another model.
        TerminatedError: If SIGTERM ended the server.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ParameterError(
            f"gallery serve needs {', '.join(missing)}, which is not installed; "
            "pip install 'facever[serve]'"
        )
    check_max_pixels(max_pixels)
    from facever.serving.app import create_app
    from facever.serving.binding import choose_access, listen, page_address
    from facever.serving.face_reader import FaceReader
    from facever.serving.gallery_thread import GalleryThread

    # Detector and network compute beside each other, so each gets half of the cores;
    # with threads for all of them an answer took 1.2 to 1.9 times the processor's time.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, num_threads() // 2)))
    access = choose_access(host, token)
    detector = detector_in_use(gallery)
    AlignRecipe(detector, min_quality=min_quality or {}).check_min_quality()
    with ExitStack() as opened:
        # First what fails at once.
        sock = opened.enter_context(listen(host, port))
        embedder = load(model, detector=detector, backend=backend)
        people = GalleryThread(gallery, embedder.model_fingerprint)
        opened.callback(people.close)
        reader = FaceReader(embedder, max_pixels, min_quality)
        opened.callback(reader.close)
        reader.warm_up()
        app = create_app(people, reader, access, write)
        info = people.ask(AnyGallery.info)
        people.warm_up()
        # What the user has chosen may be a secret that no log should hold.
        made_up = access.token if token is None else None
        ready = ReadyServer(
            gallery=str(gallery),
            num_embeddings=info.num_embeddings,
            num_people=info.num_people,
            can_write=write,
            asks_for_token=access.token is not None,
            token=made_up,
            address=page_address(host, sock.getsockname()[1], made_up),
        )
        with watch_for_sigterm() as terminated:
            _run(app, sock, lambda: when_ready(ready))
        if terminated():
            raise TerminatedError(f"{gallery}: SIGTERM ended the server, in good order")
    return StoppedServer(str(gallery), reader.num_refused)


def _run(app: "FastAPI", sock: socket, when_ready: Callable[[], None]) -> None:
    """Answer requests until SIGINT or SIGTERM, and end what was begun."""
    import uvicorn

    from facever.serving.connections import server_config

    class Server(uvicorn.Server):
        """Says when it is ready: it answers then, and signals reach it."""

        async def startup(self, sockets: list[socket] | None = None) -> None:
            await super().startup(sockets)
            when_ready()

    try:
        Server(server_config(app)).run([sock])
    except KeyboardInterrupt:
        # uvicorn has ended everything, and raises what made it stop.
        return
