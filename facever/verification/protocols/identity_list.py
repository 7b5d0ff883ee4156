"""Lists of photos and who is on them, and the embeddings of the photos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from facever.csv_tables import read_csv
from facever.errors import DataError
from facever.verification.photo_matching import find_rows, row_of_key


@dataclass(frozen=True)
class IdentityList:
    """Photos and who is in them: a gallery, or probes.

    Attributes:
        images: Source of each photo, such as ``"A_B/A_B_0001.jpg"``.
        identities: The person on each photo.

    Raises:
        DataError: If the lengths differ, there is no photo, or one is listed twice.
    """

    images: list[str]
    identities: list[str]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.identities) or not self.images:
            raise DataError(
                "a gallery or probe list must hold at least one photo, and an identity "
                f"for each; got {len(self.images)} photos and "
                f"{len(self.identities)} identities"
            )
        row_of_key(self.images)

    def __len__(self) -> int:
        return len(self.images)


def read_identity_list(path: Path) -> IdentityList:
    """Read a gallery or probe list: CSV in UTF-8 with the header ``image,identity``.

    Args:
        path: The file. Blank lines are skipped.

    Raises:
        FileError: If the file cannot be read.
        DataError: If the file is not of that form or a photo is listed twice.
    """
    images: list[str] = []
    identities: list[str] = []
    for row in read_csv(path, ["image", "identity"]):
        if not row["image"]:
            raise row.wrong("image", "a photo")
        if not row["identity"]:
            raise row.wrong("identity", "a name")
        images.append(row["image"])
        identities.append(row["identity"])
    try:
        return IdentityList(images, identities)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def find_listed(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    photos: IdentityList,
) -> Int64[np.ndarray, " photos"]:
    """Row of each listed photo's embedding, -1 where it has none.

    Raises:
        DataError: In the same cases as ``find_rows``, or if no photo of the list has an
            embedding.
    """
    rows = find_rows(embeddings, images, photos.images)
    if not (rows >= 0).any():
        raise DataError(
            f"none of the {len(photos)} photos of a list, such as "
            f"{photos.images[0]!r}, has an embedding; there are {len(images)}"
            + (f", such as of {images[0]!r}" if images else "")
        )
    return rows
