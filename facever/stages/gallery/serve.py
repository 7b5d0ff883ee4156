"""The stage ``facever gallery serve``: a local web page to ask a gallery."""

from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING

from facever.errors import ParameterError, TerminatedError
from facever.gallery.folder.gallery import Gallery
from facever.inference.embedder import load
from facever.training.sigterm import watch_for_sigterm

if TYPE_CHECKING:
    from fastapi import FastAPI

_NEEDED = ("fastapi", "uvicorn", "python_multipart")
# Of a client that sends a photo slowly, or waits for others' photos.
_MOST_CONNECTIONS = 64
_SECONDS_TO_FINISH = 5


def serve(
    gallery: Path,
    model: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    write: bool = False,
    token: str | None = None,
) -> None:
    """Serve a web page, and the API behind it, until Ctrl-C.

    Args:
        gallery: The gallery's folder.
        model: The model file; it must be the one of the gallery.
        host: Address to listen at. Other machines reach any but loopback, and must
            send a token.
        port: To listen at; 0 for any that is free.
        write: Whether people can be enrolled and removed.
        token: In place of one that is made up.

    Raises:
        ParameterError: If a package is not installed, the address cannot be listened
            at, or the token is too short.
        FileError: If the gallery or the model file is missing or damaged.
        MismatchError: If the gallery was made for another model.
        TerminatedError: After SIGTERM.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ParameterError(
            f"gallery serve needs {', '.join(missing)}, which is not installed; "
            "pip install 'facever[serve]'"
        )
    from facever.faces.mtcnn import MtcnnDetector
    from facever.serving.app import create_app
    from facever.serving.binding import choose_access, listen, page_address
    from facever.serving.face_reader import FaceReader
    from facever.serving.gallery_thread import GalleryThread

    access = choose_access(host, token)
    with ExitStack() as opened:
        # First what fails at once.
        sock = opened.enter_context(listen(host, port))
        embedder = load(model)
        people = GalleryThread(gallery, embedder.model_fingerprint)
        opened.callback(people.close)
        app = create_app(
            people, FaceReader(embedder, MtcnnDetector().detect), access, write
        )
        info = people.ask(Gallery.info)
        change = "can be changed" if write else "is only looked at (--write to change)"
        print(
            f"{gallery}: {info.num_embeddings} faces of {info.num_people} people; it "
            f"{change}"
        )
        if access.token is not None:
            print(f"Authorization: Bearer {access.token}")
            print("photos and token travel in the clear: put TLS in front of it")
        address = page_address(host, sock.getsockname()[1], access.token)
        with watch_for_sigterm() as terminated:
            _run(app, sock, f"open {address} in a browser; Ctrl-C stops")
        if terminated():
            raise TerminatedError(f"{gallery}: SIGTERM ended the server, in good order")
    print(f"{gallery}: the server has stopped")


def _run(app: "FastAPI", sock: socket, ready: str) -> None:
    """Answer requests until SIGINT or SIGTERM, and end what was begun."""
    import uvicorn

    class Server(uvicorn.Server):
        """Says that it is ready when it is, and when signals reach it."""

        async def startup(self, sockets: list[socket] | None = None) -> None:
            await super().startup(sockets)
            print(ready, flush=True)

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_SECONDS_TO_FINISH,
    )
    try:
        Server(config).run([sock])
    except KeyboardInterrupt:
        # uvicorn has ended everything and says now why.
        return
