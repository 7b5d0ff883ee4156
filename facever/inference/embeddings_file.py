"""Embeddings and the photos they belong to, in an ``.npz`` file."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt32

from facever.errors import DataError, FileError, ParameterError

SAYS_ITS_MODEL = (
    "facever embed writes an .npz that says it, as the text model_fingerprint"
)
"""What to do about embeddings of which nobody knows the model."""

# So many names of a file's arrays are shown; some files have an array for each photo.
_MOST_NAMES = 8


@dataclass(frozen=True)
class EmbeddingsFile:
    """What an embeddings file holds.

    Attributes:
        embeddings: A row for each photo, as stored.
        images: Source of each row's photo, such as ``"A_B/A_B_0001.jpg"``.
        model_fingerprint: Fingerprint of the model that made them; None if the file
            does not say.
        checksums: CRC-32 of the crop of each row, as its store has it; None if the file
            does not say.
    """

    embeddings: Float[np.ndarray, "images dim"]
    images: list[str]
    model_fingerprint: str | None
    checksums: UInt32[np.ndarray, " images"] | None = None


def read_embeddings(path: str | Path, array: str | None = None) -> EmbeddingsFile:
    """Read an embeddings file.

    It has the arrays ``embeddings`` ``[N, D]`` and ``images`` ``[N]``, and may have
    ``model_fingerprint`` and ``checksums`` ``[N]``. Pickled arrays are refused.

    Args:
        path: The ``.npz`` file.
        array: What the file calls the array of embeddings, and behind a comma that of
            images, if these are other names, such as ``"features,paths"``.

    Raises:
        ParameterError: If ``array`` is not one name, or two with a comma between.
        FileError: If the file is missing or no ``.npz``.
        DataError: If an array is missing, of another kind or shape, or their lengths
            differ.
    """
    path = Path(path)
    embeddings_name, images_name = _parse_names(array)
    expected = "expected an .npz with the arrays embeddings [N, D] and images [N]"
    if not path.is_file():
        raise FileError(f"no embeddings file at {path}; {expected}")
    try:
        opened = np.load(path, allow_pickle=False)
    except Exception:
        # zipfile, its decoders and NumPy raise errors of many kinds on damaged files.
        raise FileError(f"{path} is not an .npz file; {expected}") from None
    if not isinstance(opened, np.lib.npyio.NpzFile):
        raise FileError(f"{path} holds a single array; {expected}")
    with opened as arrays:
        embeddings = _read_array(path, arrays, embeddings_name, expected)
        images = _read_array(path, arrays, images_name, expected)
        model, checksums = (
            _read_array(path, arrays, name, expected) if name in arrays.files else None
            for name in ("model_fingerprint", "checksums")
        )
    if embeddings.ndim != 2 or embeddings.dtype.kind != "f" or 0 in embeddings.shape:
        raise DataError(
            f"{path}: {embeddings_name} must be floating point numbers of shape "
            f"[N, D], got {embeddings.dtype} of shape {list(embeddings.shape)}"
        )
    if images.ndim != 1 or images.dtype.kind != "U":
        raise DataError(
            f"{path}: {images_name} must be text of shape [N], got {images.dtype} of "
            f"shape {list(images.shape)}"
        )
    if len(embeddings) != len(images):
        raise DataError(
            f"{path}: {embeddings_name} and {images_name} must have one length, got "
            f"{len(embeddings)} and {len(images)}"
        )
    if checksums is not None and (
        checksums.dtype != np.uint32 or checksums.shape != images.shape
    ):
        raise DataError(
            f"{path}: checksums must be uint32 of shape {list(images.shape)}, got "
            f"{checksums.dtype} of shape {list(checksums.shape)}"
        )
    if model is not None and (model.ndim or model.dtype.kind != "U"):
        raise DataError(
            f"{path}: model_fingerprint must be a text, got {model.dtype} of shape "
            f"{list(model.shape)}"
        )
    return EmbeddingsFile(
        embeddings,
        _texts_of(path, images_name, images),
        None if model is None else _texts_of(path, "model_fingerprint", model[None])[0],
        checksums,
    )


def check_array(array: str | None, has_npz: bool) -> None:
    """Refuse names of arrays where there is no file of embeddings.

    Raises:
        ParameterError: If ``array`` is given, and no ``.npz``.
    """
    if array is not None and not has_npz:
        raise ParameterError(
            "array names the arrays of an .npz of embeddings, and none is given; got "
            f"{array!r}"
        )


def write_embeddings(path: Path, content: EmbeddingsFile) -> None:
    """Write an embeddings file.

    It is written in place, so a caller that may be killed gives a temporary name, see
    ``whole_file``.

    Args:
        path: Any name; the suffix is not changed.
        content: What the file will hold.

    Raises:
        OSError: If the system refuses.
    """
    arrays = {
        "embeddings": content.embeddings,
        "images": np.array(content.images, dtype=np.str_),
    }
    if content.model_fingerprint is not None:
        arrays["model_fingerprint"] = np.array(content.model_fingerprint)
    if content.checksums is not None:
        arrays["checksums"] = content.checksums
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _parse_names(array: str | None) -> tuple[str, str]:
    """The names of the arrays of embeddings and of images."""
    names = [] if array is None else [name.strip() for name in array.split(",")]
    if len(names) > 2 or "" in names:
        raise ParameterError(
            "array must be the name of the array of embeddings, or that and the name "
            f"of the array of images with a comma between, got {array!r}"
        )
    embeddings, images = (*names, *("embeddings", "images")[len(names) :])
    return embeddings, images


def _read_array(
    path: Path, arrays: np.lib.npyio.NpzFile, name: str, expected: str
) -> np.ndarray[Any, np.dtype[Any]]:
    if name not in arrays.files:
        has = ", ".join(arrays.files[:_MOST_NAMES]) or "nothing"
        if len(arrays.files) > _MOST_NAMES:
            has += f" and {len(arrays.files) - _MOST_NAMES:,} more"
        raise DataError(
            f"{path} has no array {name!r}, it has {has}; {expected}: if they have "
            "other names, say so with --array EMBEDDINGS,IMAGES, else write it again "
            "with np.savez(path, embeddings=..., images=...)"
        )
    try:
        array = arrays[name]
    except Exception as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path}: the array {name!r} holds Python objects, which is not read, "
                "for it may run code; write embeddings as np.float32 and images as "
                "np.str_"
            ) from None
        raise DataError(
            f"{path}: cannot read the array {name!r}: {error}; write the file again"
        ) from None
    # A member that is no array comes back as its bytes.
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: {name!r} is no array; {expected}")
    return array


def _texts_of(
    path: Path, name: str, array: np.ndarray[Any, np.dtype[Any]]
) -> list[str]:
    """The texts of an array, of whose letters a damaged file may have made others."""
    order = array.dtype.byteorder
    letters = np.frombuffer(array.tobytes(), np.dtype(np.uint32).newbyteorder(order))
    # Python takes larger ones, and goes wrong later.
    is_text = not (letters > sys.maxunicode).any()
    texts: list[str] = array.tolist() if is_text else []
    try:
        # Names of files that are not UTF-8 are kept as Python keeps them.
        "".join(texts).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        is_text = False
    if not is_text:
        raise DataError(
            f"{path}: {name} holds letters that are none; write the file again"
        )
    return texts
