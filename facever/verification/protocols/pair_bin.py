"""Pair sets in InsightFace's .bin form (LFW, AgeDB-30, CFP-FP, CALFW, CPLFW)."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from facever.data.sources.bin_photos import photo_name, read_bin_file
from facever.errors import DataError, PhotoError
from facever.faces.photos import decode_photo, photo_size
from facever.faces.templates import (
    DEFAULT_TEMPLATE,
    Template,
    check_crop_size,
    take_crop,
)
from facever.files import whole_file
from facever.verification.protocols.folds import divide_pairs
from facever.verification.protocols.pairs import PairList

_WRITTEN_PROTOCOL = 4


@dataclass(frozen=True)
class DecodedPhotos:
    """Crops of a pair set.

    Attributes:
        crops: RGB crops of the photos that can be decoded.
        sources: The source of each crop.
        broken: The reason why each other photo cannot be decoded, by its source. Such
            photos count as missing.
    """

    crops: UInt8[np.ndarray, "photos high wide 3"]
    sources: list[str]
    broken: dict[str, str]


@dataclass(frozen=True)
class PairBin:
    """A pair set.

    Attributes:
        path: The file of the set.
        photos: Encoded photos; pair ``i`` compares the photos ``2 i`` and ``2 i + 1``.
        pairs: The pairs, whose sources are the photos' places: ``"000000"``...
    """

    path: Path
    photos: list[bytes]
    pairs: PairList

    def decode(
        self,
        start: int = 0,
        stop: int | None = None,
        template: Template = DEFAULT_TEMPLATE,
    ) -> DecodedPhotos:
        """Decode a range of photos.

        The photos are aligned crops already, as a rule 112x112, of which a model of
        112x96 (height x width) takes the columns 8 to 103.

        Args:
            start: Place of the first photo.
            stop: Place behind the last; None for the end.
            template: What the crops shall look like.

        Raises:
            DataError: If a photo has another size; the message names file and photo.
        """
        crops: list[np.ndarray] = []
        sources: list[str] = []
        broken: dict[str, str] = {}
        for place, photo in list(enumerate(self.photos))[start:stop]:
            try:
                # By the header, so that a small file cannot become a giant image.
                height, width = photo_size(photo)
                check_crop_size(height, width, template)
                crops.append(take_crop(decode_photo(photo), template))
                sources.append(photo_name(place))
            except PhotoError as error:
                broken[photo_name(place)] = str(error)
            except DataError as error:
                raise DataError(
                    f"{self.path} photo {place}: {error}; align the photos first"
                ) from None
        shape = (len(crops), *template.shape)
        return DecodedPhotos(
            np.array(crops, dtype=np.uint8).reshape(shape), sources, broken
        )


def read_bin(path: Path) -> PairBin:
    """Read a pair set in InsightFace's form, without mxnet and without pickle.

    The file is a pickle of protocol 0 to 5: two lists, the encoded photos (as bytes or
    as NumPy arrays of them) and whether each pair is genuine, as bools or numbers.
    Nothing in it is run; see ``read_plain_pickle``. As in the projects that use such
    files, the pairs are divided into 10 consecutive folds of equal size, the first of
    which have one pair more where the number does not divide (scikit-learn's KFold).
    Pairs in another order are dealt, see ``divide_pairs``; other projects' rules keep
    the folds of the file's order even then.

    Args:
        path: The file, such as ``lfw.bin``.

    Raises:
        FileError: If the file cannot be read, is damaged or holds anything else.
        DataError: If the lists do not fit each other, or there are fewer than two pairs
            of a kind.
    """
    encoded, truth = read_bin_file(path)
    sources = [photo_name(place) for place in range(len(encoded))]
    same = np.array(truth, dtype=np.bool_)
    try:
        folds = divide_pairs(same)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    # That folds are the tenths of the file is this form's own rule, and goes unsaid.
    notes = () if folds.rule_fold is None else folds.notes
    pairs = PairList(
        sources[::2], sources[1::2], same, folds.fold, folds.rule_fold, notes
    )
    return PairBin(path, encoded, pairs)


def write_bin(
    path: Path,
    photos: Sequence[bytes] | UInt8[np.ndarray, "photos height width 3"],
    same: Sequence[bool],
) -> None:
    """Write a pair set that this library and InsightFace's read.

    Args:
        path: The file.
        photos: Two photos a pair, one pair after the other: encoded ones, which are
            written as they are, or RGB crops, 112x112 or 112x96 (height x width),
            which are written as PNG, that is without loss. Other projects want 112x112.
        same: Whether each pair is genuine. Other projects make 10 consecutive folds,
            so genuine and impostor pairs should be mixed.

    Raises:
        DataError: If there are not two photos a pair, or crops have another size.
        FileError: If the file cannot be written.
    """
    if len(photos) != 2 * len(same):
        raise DataError(
            f"a pair set needs two photos a pair, got {len(photos)} photos and "
            f"{len(same)} pairs"
        )
    if isinstance(photos, np.ndarray):
        _, height, width, _ = photos.shape
        check_crop_size(height, width, DEFAULT_TEMPLATE)
        encoded = [
            cv2.imencode(".png", crop[:, :, ::-1])[1].tobytes() for crop in photos
        ]
    else:
        encoded = [bytes(photo) for photo in photos]
    with whole_file(path) as temporary:
        content = encoded, [bool(answer) for answer in same]
        temporary.write_bytes(pickle.dumps(content, protocol=_WRITTEN_PROTOCOL))
