"""What a Qdrant client says of server and collection, as facever's errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError

from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from facever.errors import FileError, GalleryError

KEY_VARIABLE = "QDRANT_API_KEY"


@contextmanager
def as_facever_errors(place: str) -> Iterator[None]:
    """Turn the client's errors within the block into ours, each of one line.

    Args:
        place: The gallery's URL.

    Raises:
        FileError: If no server answers, there is no such collection, or it refuses.
        GalleryError: If there is a collection where one is to be made.
    """
    try:
        yield
    except UnexpectedResponse as error:
        raise _refused(place, error) from error
    except (ApiException, JSONDecodeError) as error:
        # ApiException wraps what httpx or pydantic raised.
        reason = str(getattr(error, "source", error)).split("\n")[0]
        raise FileError(
            f"{place}: no Qdrant server answers there ({reason}); start it, or check "
            "the address"
        ) from error
    except QdrantException as error:
        raise FileError(
            f"{place}: the server has too much to do; try again later"
        ) from error
    except ValueError as error:
        # This comes from the in-process mode, which has no status codes.
        reason = str(error).split("\n")[0]
        if reason.endswith("not found"):
            raise _missing(place) from error
        if reason.endswith("already exists"):
            raise _already(place) from error
        raise FileError(f"{place}: Qdrant refuses this ({reason})") from error


def _refused(place: str, error: UnexpectedResponse) -> FileError | GalleryError:
    content = " ".join(error.content[:300].decode(errors="replace").split())
    if error.status_code in (401, 403):
        return FileError(
            f"{place}: the server refuses the key; put the right one into the "
            f"environment variable {KEY_VARIABLE}"
        )
    if error.status_code == 404:
        return _missing(place)
    if error.status_code == 409 or "already exists" in content:
        return _already(place)
    return FileError(
        f"{place}: the server refuses this ({error.status_code}: {content}); its log "
        "may say more"
    )


def _missing(place: str) -> FileError:
    return FileError(f"{place}: no such gallery; make one with gallery create")


def _already(place: str) -> GalleryError:
    return GalleryError(f"{place}: there is a gallery already")
