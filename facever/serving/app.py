"""The web application: page, API, and what becomes of errors."""

import logging
from collections.abc import Callable
from importlib import resources

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from facever.errors import (
    DataError,
    FaceverError,
    FileError,
    GalleryError,
    MismatchError,
    ParameterError,
    UploadError,
)
from facever.results import printable
from facever.serving.face_reader import FaceReader
from facever.serving.gallery_thread import GalleryThread
from facever.serving.guard import Access, Guard
from facever.serving.routes import Routes
from facever.version import __version__

# The only files that are served; they are read once, and no request names a path.
_PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_LOG = logging.getLogger("uvicorn.error")


def create_app(
    people: GalleryThread, reader: FaceReader, access: Access, write: bool
) -> FastAPI:
    """The application; whoever opened the gallery closes it after.

    Args:
        people: The gallery.
        reader: The reader of faces, made for the gallery's model.
        access: Who may ask.
        write: Whether people can be enrolled and removed.
    """
    app = FastAPI(
        title="facever gallery",
        version=__version__,
        description="Who is on a photo, and do two photos show one person?",
        # The pages of FastAPI load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Guard, access=access)
    # The guard checks the token, before a body is read; this describes it.
    described = [Depends(HTTPBearer(auto_error=False))] if access.token else []
    app.include_router(Routes(people, reader, write).router(), dependencies=described)
    _add_page(app)
    app.add_exception_handler(FaceverError, _explain)
    app.add_exception_handler(HTTPException, _explain_status)
    app.add_exception_handler(RequestValidationError, _explain_value)
    return app


def _add_page(app: FastAPI) -> None:
    folder = resources.files("facever.serving") / "page"
    for address, (name, kind) in _PAGE.items():
        send = _sending((folder / name).read_bytes(), kind)
        app.add_api_route(address, send, include_in_schema=False)


def _sending(content: bytes, kind: str) -> Callable[[], Response]:
    return lambda: Response(content, media_type=kind)


async def _explain(request: Request, error: Exception) -> JSONResponse:
    """One line; an error that names paths goes only to the server's terminal."""
    if isinstance(error, UploadError):
        return _problem(error.status, str(error))
    if isinstance(error, MismatchError):
        _LOG.error("%s", printable(str(error)))
        return _problem(
            409,
            "the gallery is of another model by now; start the server with that model",
        )
    if isinstance(error, ParameterError | DataError):
        return _problem(422, str(error))
    _LOG.error("%s", printable(str(error)))
    if isinstance(error, GalleryError):
        return _problem(
            409, "the gallery refuses this; the terminal of the server says why"
        )
    assert isinstance(error, FileError), error
    return _problem(
        500, "the gallery cannot be read or written; the server's terminal says why"
    )


async def _explain_status(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    answer = _problem(error.status_code, str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


async def _explain_value(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(step) for step in first["loc"][1:])
    return _problem(422, f"{where}: {first['msg']}")


def _problem(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"error": reason}, status)
