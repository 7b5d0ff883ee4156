"""What a gallery takes: embeddings of its size, names and sources that are text."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from facever.errors import GalleryError, MismatchError, ParameterError


def unit_embeddings(
    embeddings: Float[np.ndarray, "rows dim"], size: int
) -> Float32[np.ndarray, "rows dim"]:
    """Embeddings scaled to unit length.

    Args:
        embeddings: Of any length but zero.
        size: Numbers in an embedding of the gallery.

    Raises:
        ParameterError: If the array has not two dimensions.
        MismatchError: If the embeddings have another size.
        GalleryError: If an embedding is zero or not finite.
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
    wide = embeddings.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        raise GalleryError(
            f"embedding {bad[0]} of {len(embeddings)} is zero or not finite (its "
            f"length is {lengths[bad[0]]}); leave it out"
        )
    return np.asarray(wide / lengths[:, None], np.float32)


def check_texts(kind: str, texts: Sequence[str]) -> None:
    """Refuse empty text, and text from a file name that is not UTF-8.

    Raises:
        ParameterError: That names the row and the text.
    """
    for row, text in enumerate(texts):
        if not text.strip() or not _is_unicode(text):
            raise ParameterError(
                f"the {kind} of row {row} must be text that is not empty, got {text!a}"
            )


def check_model(path: Path, made_for: str | None, opened_with: str | None) -> None:
    """Refuse embeddings of another model than the gallery's.

    Raises:
        MismatchError: That names the two.
    """
    if made_for != opened_with:
        raise MismatchError(
            f"{path}: this gallery was made {_for_model(made_for)} and was opened "
            f"{_for_model(opened_with)}; open it with the model it was made for, or "
            "re-embed it with gallery migrate"
        )


def _for_model(fingerprint: str | None) -> str:
    if fingerprint is None:
        return "for no model in particular"
    return f"for model {fingerprint[:12]}"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
