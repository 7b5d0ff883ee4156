"""Embeddings and the photos they belong to, in an ``.npz`` file."""

import lzma
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt32

from facever.errors import DataError, FileError

# What zipfile and the decoders below it raise: RuntimeError for a password, and its
# child NotImplementedError for a compression that is not known.
_DAMAGED = (
    *(OSError, ValueError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


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


def read_embeddings(path: str | Path) -> EmbeddingsFile:
    """Read an embeddings file.

    It has the arrays ``embeddings`` ``[N, D]`` and ``images`` ``[N]``, and may have
    ``model_fingerprint`` and ``checksums`` ``[N]``. Pickled arrays are refused.

    Args:
        path: The ``.npz`` file.

    Raises:
        FileError: If the file is missing or no ``.npz``.
        DataError: If an array is missing, of another kind or shape, or their lengths
            differ.
    """
    path = Path(path)
    expected = "expected an .npz with the arrays embeddings [N, D] and images [N]"
    if not path.is_file():
        raise FileError(f"no embeddings file at {path}; {expected}")
    try:
        opened = np.load(path, allow_pickle=False)
    except _DAMAGED:
        raise FileError(f"{path} is not an .npz file; {expected}") from None
    if not isinstance(opened, np.lib.npyio.NpzFile):
        raise FileError(f"{path} holds a single array; {expected}")
    with opened as arrays:
        embeddings = _read_array(path, arrays, "embeddings", expected)
        images = _read_array(path, arrays, "images", expected)
        model, checksums = (
            _read_array(path, arrays, name, expected) if name in arrays.files else None
            for name in ("model_fingerprint", "checksums")
        )
    if embeddings.ndim != 2 or embeddings.dtype.kind != "f" or 0 in embeddings.shape:
        raise DataError(
            f"{path}: embeddings must be floating point numbers of shape [N, D], got "
            f"{embeddings.dtype} of shape {list(embeddings.shape)}"
        )
    if images.ndim != 1 or images.dtype.kind != "U":
        raise DataError(
            f"{path}: images must be text of shape [N], got {images.dtype} of shape "
            f"{list(images.shape)}"
        )
    if len(embeddings) != len(images):
        raise DataError(
            f"{path}: embeddings and images must have one length, got "
            f"{len(embeddings)} and {len(images)}"
        )
    if checksums is not None and (
        checksums.dtype != np.uint32 or checksums.shape != images.shape
    ):
        raise DataError(
            f"{path}: checksums must be uint32 of shape {list(images.shape)}, got "
            f"{checksums.dtype} of shape {list(checksums.shape)}"
        )
    return EmbeddingsFile(
        embeddings, images.tolist(), None if model is None else str(model), checksums
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


def _read_array(
    path: Path, arrays: np.lib.npyio.NpzFile, name: str, expected: str
) -> np.ndarray[Any, np.dtype[Any]]:
    if name not in arrays.files:
        has = ", ".join(arrays.files) or "nothing"
        raise DataError(
            f"{path} has no array {name!r}, it has {has}; {expected}: write it again "
            "with np.savez(path, embeddings=..., images=...)"
        )
    try:
        array = arrays[name]
    except _DAMAGED as error:
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
