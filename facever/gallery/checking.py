"""What a gallery takes: embeddings of its size, names and sources that are text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from facever.errors import GalleryError, MismatchError, NotEnrolledError, ParameterError
from facever.gallery.entries import Origin, fields_as_json
from facever.inference.embeddings_file import SAYS_ITS_MODEL
from facever.inference.vectors import unit_vectors


def unit_embeddings(
    embeddings: Float[np.ndarray, "rows dim"], size: int
) -> Float32[np.ndarray, "rows dim"]:
    """Embeddings scaled to unit length.

    Args:
        embeddings: Embeddings of any length but zero.
        size: Number of values in an embedding of the gallery.

    Raises:
        ParameterError: If the array does not have two dimensions.
        MismatchError: If the embeddings have another size.
        DataError: If an embedding is zero or not finite.
    """
    if embeddings.ndim != 2:
        raise ParameterError(
            "embeddings must be an array [rows, size], got shape "
            f"{embeddings.shape}; write embedding[None] for a single one"
        )
    if embeddings.shape[1] != size:
        raise MismatchError(
            f"embeddings of this gallery have {size} numbers, got "
            f"{embeddings.shape[1]}; use the model that it was made with"
        )
    return np.asarray(unit_vectors(embeddings), np.float32)


def check_rows(
    names: Sequence[str],
    embeddings: Float[np.ndarray, "rows dim"],
    sources: Sequence[str],
    fields: Sequence[Mapping[str, Any]],
    origins: Sequence[Origin | None],
) -> None:
    """Refuse lists of different lengths, and texts or fields that are not valid.

    Raises:
        ParameterError: If something is wrong; the message names it.
    """
    lengths = [len(x) for x in (names, embeddings, sources, fields, origins)]
    if len(set(lengths)) > 1:
        raise ParameterError(
            "names, embeddings, sources, fields and origins must be of one length, got "
            f"{', '.join(map(str, lengths[:-1]))} and {lengths[-1]}"
        )
    check_texts("name", names)
    check_texts("source", sources)
    for known_of in fields:
        fields_as_json(known_of)


def check_unit_length(
    unit: Float32[np.ndarray, "rows dim"], embeddings: Float32[np.ndarray, "rows dim"]
) -> None:
    """Refuse embeddings that are not of unit length, as they are kept bit by bit.

    Args:
        unit: The embeddings, scaled to unit length.
        embeddings: The embeddings as they were given.

    Raises:
        GalleryError: If the two differ.
    """
    if not np.allclose(unit, embeddings, rtol=0, atol=1e-4):
        raise GalleryError("embeddings to insert must be of unit length")


def check_texts(kind: str, texts: Sequence[str]) -> None:
    """Refuse empty text, and text from a file name that is not UTF-8.

    Raises:
        ParameterError: If there is one; the message names the row and the text.
    """
    for row, text in enumerate(texts):
        if not text.strip() or not _is_unicode(text):
            raise ParameterError(
                f"the {kind} of row {row} must be text that is not empty, got {text!a}"
            )


def check_model(
    place: Path | str, made_for: str | None, opened_with: str | None
) -> None:
    """Refuse embeddings of another model than the gallery's.

    Raises:
        MismatchError: If they differ; the message names the two models.
    """
    if made_for == opened_with:
        return
    if opened_with is None:
        raise MismatchError(
            f"{place}: this gallery takes embeddings of model {str(made_for)[:12]}, "
            f"and nothing says whose these are; {SAYS_ITS_MODEL}; in Python, open the "
            "gallery with model_fingerprint"
        )
    if made_for is None:
        raise MismatchError(
            f"{place}: this gallery holds embeddings of an unknown model, so it can "
            "only be searched, or added to, with an .npz of the same, which names no "
            f"model either; these are of model {opened_with[:12]}"
        )
    raise MismatchError(
        f"{place}: this gallery was made for model {made_for[:12]} and was opened for "
        f"model {opened_with[:12]}; open it with the model it was made for (--model), "
        "or re-embed it with gallery migrate"
    )


def unknown_id(place: Path | str, entry_id: str) -> NotEnrolledError:
    """The error to raise for an id that no enrolled photo has."""
    return NotEnrolledError(
        f"{place}: no photo with the id {entry_id!a} is enrolled; gallery list "
        "--photos shows the ids"
    )


def unknown_person(place: Path | str, name: str) -> NotEnrolledError:
    """The error to raise for a name that nobody has."""
    return NotEnrolledError(
        f"{place}: nobody is enrolled as {name!a}; gallery list shows the names"
    )


def enrolled_already(name: str, source: str, entry_id: str) -> GalleryError:
    """The error to raise for a photo that would be there twice under a name."""
    return GalleryError(
        f"{name} has {source} enrolled already, as {entry_id}; remove one of the two "
        "first"
    )


def imported_already(
    place: Path | str, name: str, source: str, entry_id: str
) -> GalleryError:
    """The error to raise for an entry to insert that is enrolled already."""
    return GalleryError(
        f"{place}: {name}'s {source} ({entry_id}) is enrolled already; import into a "
        "new gallery"
    )


def nobody_to_migrate(place: Path | str) -> GalleryError:
    """The error to raise where a gallery would have nobody after its migration."""
    return GalleryError(
        f"{place}: no enrolled face was embedded by the new model, so nothing was "
        "migrated; make a new gallery for it"
    )


def no_threshold(place: Path | str) -> GalleryError:
    """The error to raise where a threshold is needed and none was set."""
    return GalleryError(
        f"{place}: no threshold is set, so nobody can be told from somebody; set one "
        "with gallery threshold"
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
