"""What a network's crops look like: their size, and where the face stands in them.

A template belongs to a model: its file says which one it was trained on, and a crop
store says which one its crops were cut by. A new one is a row in ``TEMPLATES`` and its
name in ``facever.choices.TemplateName``.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float64, UInt8
from numpy.typing import ArrayLike
from PIL import Image

from facever.choices import TemplateName
from facever.errors import DataError, MismatchError, ParameterError
from facever.faces.detection import Face
from facever.faces.geometry import share_outside, similarity_transform, warp_crops


@dataclass(frozen=True, eq=False)
class Template(ABC):
    """A way to cut crops of one size out of photos.

    Attributes:
        name: Height x width, the key in ``TEMPLATES``.
        height: Pixels.
        width: Pixels.
        needs_box: Whether a face is cut out by its box, so that its landmarks are not
            enough.
    """

    name: TemplateName
    height: int
    width: int
    needs_box: ClassVar[bool]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of a crop: height, width and three colours."""
        return self.height, self.width, 3

    @property
    @abstractmethod
    def description(self) -> Any:
        """The template in numbers, as JSON holds them; of this template alone."""

    @abstractmethod
    def cut(
        self, photo: UInt8[np.ndarray, "height width 3"], faces: Sequence[Face]
    ) -> UInt8[np.ndarray, "faces high wide 3"]:
        """The crop of each face.

        Args:
            photo: RGB.
            faces: Faces in it.

        Raises:
            DataError: If a face cannot be cut out; the message says why.
        """

    @abstractmethod
    def share_outside(
        self, photo_size: tuple[int, int], faces: Sequence[Face]
    ) -> Float64[np.ndarray, " faces"]:
        """The part of each crop that lies outside the photo, in [0, 1].

        Args:
            photo_size: Height and width.
            faces: Faces in the photo that can be cut out.
        """

    def window_in(self, wider: "Template") -> tuple[slice, slice] | None:
        """The rows and columns of a wider template's crops that are this one's crops.

        None if there are none, because the faces stand otherwise there. Every template
        is the whole of itself.
        """
        return _WHOLE if wider is self else None


_WHOLE = (slice(None), slice(None))


@dataclass(frozen=True, eq=False)
class FivePointTemplate(Template):
    """Crops in which five landmarks are brought to fixed places.

    Attributes:
        points: Left eye, right eye, nose, left and right mouth corner as seen in the
            picture; pixels of the crop, x then y; pixel centres are whole numbers from
            0.
    """

    points: Float64[np.ndarray, "5 2"]
    needs_box: ClassVar[bool] = False

    @property
    def description(self) -> list[list[float]]:
        """The five points."""
        return [[float(x), float(y)] for x, y in self.points]

    def cut(
        self, photo: UInt8[np.ndarray, "height width 3"], faces: Sequence[Face]
    ) -> UInt8[np.ndarray, "faces high wide 3"]:
        """The crop of each face, black where the photo ends.

        Raises:
            DataError: If landmarks are not finite or fall on one point.
        """
        return self.align(photo, _landmarks_of(faces))

    def share_outside(
        self, photo_size: tuple[int, int], faces: Sequence[Face]
    ) -> Float64[np.ndarray, " faces"]:
        """See ``Template``: the part that is black."""
        transforms = similarity_transform(_landmarks_of(faces), self.points)
        return share_outside(photo_size, transforms, self.height, self.width)

    def align(
        self,
        photo: UInt8[np.ndarray, "height width 3"],
        landmarks: Float64[np.ndarray, "faces 5 2"],
    ) -> UInt8[np.ndarray, "faces high wide 3"]:
        """Crops with each face's landmarks brought nearest to the points.

        Args:
            photo: RGB.
            landmarks: Pixels of the photo, x then y.

        Raises:
            DataError: If landmarks are not finite or fall on one point.
        """
        transforms = similarity_transform(landmarks, self.points)
        return warp_crops(photo, transforms, self.height, self.width)

    def window_in(self, wider: Template) -> tuple[slice, slice] | None:
        """See ``Template``: this one where the points are those there, but shifted.

        >>> TEMPLATES["112x96"].window_in(TEMPLATES["112x112"])
        (slice(0, 112, None), slice(8, 104, None))
        """
        if not isinstance(wider, FivePointTemplate):
            return None
        shifts = wider.points - self.points
        left, top = np.rint(shifts[0]).astype(int).tolist()
        if not np.allclose(shifts, (left, top), rtol=0, atol=1e-6):
            return None
        window = slice(top, top + self.height), slice(left, left + self.width)
        inside = 0 <= top <= wider.height - self.height
        inside = inside and 0 <= left <= wider.width - self.width
        return window if inside else None


def _landmarks_of(faces: Sequence[Face]) -> Float64[np.ndarray, "faces 5 2"]:
    return np.array([face.landmarks for face in faces]).reshape(-1, 5, 2)


@dataclass(frozen=True, eq=False)
class BoxTemplate(Template):
    """The detector's box with a margin, stretched to the crop's size.

    Attributes:
        margin: Pixels of the crop, both sides together, that lie outside the box.

    References:
        facenet-pytorch, ``extract_face``, to whose result crops are equal.
    """

    margin: int
    needs_box: ClassVar[bool] = True

    @property
    def description(self) -> dict[str, int]:
        """Size and margin."""
        return {"height": self.height, "width": self.width, "margin": self.margin}

    def cut(
        self, photo: UInt8[np.ndarray, "height width 3"], faces: Sequence[Face]
    ) -> UInt8[np.ndarray, "faces high wide 3"]:
        """The crop of each face; what lies outside the photo is left out of the box.

        Raises:
            DataError: If a box lies outside the photo or is empty.
        """
        crops = np.empty((len(faces), *self.shape), np.uint8)
        height, width, _ = photo.shape
        for crop, face in zip(crops, faces, strict=True):
            low, high = self._widen(face.box)
            left, top = (int(edge) for edge in np.maximum(low, 0))
            right, bottom = (int(edge) for edge in np.minimum(high, (width, height)))
            if left >= right or top >= bottom:
                raise DataError("the face's box lies outside the photo")
            view = Image.fromarray(photo[top:bottom, left:right])
            shape = (self.width, self.height)
            crop[...] = np.asarray(view.resize(shape, Image.Resampling.BILINEAR))
        return crops

    def share_outside(
        self, photo_size: tuple[int, int], faces: Sequence[Face]
    ) -> Float64[np.ndarray, " faces"]:
        """See ``Template``: the part of the box that is left out."""
        shares = np.empty(len(faces))
        for row, face in enumerate(faces):
            low, high = self._widen(face.box)
            seen = np.minimum(high, photo_size[::-1]) - np.maximum(low, 0)
            shares[row] = 1 - np.prod(seen) / np.prod(high - low)
        return shares

    def _widen(
        self, box: Float64[np.ndarray, "4"]
    ) -> tuple[Float64[np.ndarray, "2"], Float64[np.ndarray, "2"]]:
        """Left top and right bottom corner of a box with its margin."""
        size = np.array([self.width, self.height])
        half = self.margin * (box[2:] - box[:2]) / (size - self.margin) / 2
        return box[:2] - half, box[2:] + half


def _fixed(points: ArrayLike) -> Float64[np.ndarray, "5 2"]:
    array = np.array(points, np.float64)
    array.flags.writeable = False
    return array


CARD_POINTS = _fixed(
    [
        (30.2946, 51.6963),
        (65.5318, 51.5014),
        (48.0252, 71.7366),
        (33.5493, 92.3655),
        (62.7299, 92.2041),
    ]
)
"""The five points of the 112x96 crop."""

_SQUARE_POINTS = _fixed(np.add(CARD_POINTS, (8.0, 0.0)))

# Of the Open Model Zoo's face-reidentification-retail-0095: the card, stretched.
_STRETCHED_POINTS = _fixed(
    np.multiply(
        [
            (0.31556875, 0.46157411),
            (0.68262292, 0.46157411),
            (0.50026250, 0.64050536),
            (0.34947188, 0.82469196),
            (0.65343646, 0.82469196),
        ],
        128,
    )
)

# Of dlib's mean face: the centre of each eye's six points, nose tip and mouth corners,
# in a chip of 150 pixels with a padding of a quarter of the face. dlib counts from the
# corner of a pixel, half a pixel before its centre.
_DLIB_POINTS = _fixed(
    [
        (47.0492, 46.0990),
        (99.9761, 46.0990),
        (73.5127, 76.0625),
        (49.9149, 102.5233),
        (97.1104, 102.5233),
    ]
)

TEMPLATES: dict[TemplateName, Template] = {
    "112x96": FivePointTemplate("112x96", 112, 96, CARD_POINTS),
    "112x112": FivePointTemplate("112x112", 112, 112, _SQUARE_POINTS),
    "128x128": FivePointTemplate("128x128", 128, 128, _STRETCHED_POINTS),
    "160x160": BoxTemplate("160x160", 160, 160, margin=14),
    "150x150": FivePointTemplate("150x150", 150, 150, _DLIB_POINTS),
}

DEFAULT_TEMPLATE = TEMPLATES["112x96"]


def find_template(name: str) -> Template:
    """A template by its name.

    Raises:
        ParameterError: If there is none of that name; the message lists them.
    """
    template = {str(key): row for key, row in TEMPLATES.items()}.get(name)
    if template is None:
        raise ParameterError(
            f"template must be one of {', '.join(TEMPLATES)} (height x width), got "
            f"{name!r}"
        )
    return template


def template_of(description: Any) -> Template | None:
    """The template that a file describes; None if this version does not know it.

    >>> template_of({"height": 160, "width": 160, "margin": 14}).name
    '160x160'
    """
    rows = TEMPLATES.values()
    return next((row for row in rows if row.description == description), None)


def require_window(
    template: Template, found: Template, what: str
) -> tuple[slice, slice]:
    """The rows and columns of crops that serve a template.

    Args:
        template: The one that is wanted.
        found: That of the crops.
        what: What has the crops, for the message.

    Raises:
        MismatchError: If the crops do not serve; the message says what to do.
    """
    window = template.window_in(found)
    if window is None:
        raise MismatchError(
            f"{what} holds crops of {found.name} and the model takes {template.name} "
            "(height x width), with the face placed otherwise: align the photos anew "
            f"with --template {template.name}"
        )
    return window


def take_crop(
    picture: UInt8[np.ndarray, "height width 3"], template: Template
) -> UInt8[np.ndarray, "high wide 3"]:
    """The crop in a picture that is an aligned crop, to judge by its size.

    Args:
        picture: RGB; a crop of this template, or of a wider one that contains it.
        template: The one that is wanted.

    Raises:
        DataError: If it has another size.
    """
    height, width, _ = picture.shape
    window = check_crop_size(height, width, template)
    return np.ascontiguousarray(picture[window])


def widen_crop(
    picture: UInt8[np.ndarray, "height width 3"], template: Template
) -> UInt8[np.ndarray, "high wide 3"] | None:
    """A crop of a wider template from an aligned crop that is a part of it.

    What the picture does not have is given the colours of its outermost rows and
    columns. Black there would make strangers less alike for most networks.

    Args:
        picture: RGB; a crop of a template that this one contains, to judge by its size.
        template: The one that is wanted.

    Returns:
        The crop, or None if the picture is no part of one.
    """
    for part in TEMPLATES.values():
        window = part.window_in(template)
        if picture.shape[:2] == (part.height, part.width) and window is not None:
            sides = [
                (each.indices(size)[0], size - each.indices(size)[1])
                for each, size in zip(
                    window, (template.height, template.width), strict=True
                )
            ]
            return np.pad(picture, [*sides, (0, 0)], mode="edge")
    return None


def check_crop_size(height: int, width: int, template: Template) -> tuple[slice, slice]:
    """Refuse a picture that is no aligned crop, to judge by its size.

    Args:
        height: Pixels.
        width: Pixels.
        template: The one that is wanted.

    Returns:
        The rows and columns of the picture that are the crop.

    Raises:
        DataError: If a crop of this template is no part of a crop of that size.
    """
    known = _windows(template)
    if (height, width) not in known:
        sizes = " or ".join(f"{width}x{height}" for height, width in known)
        raise DataError(
            f"not an aligned crop: {width}x{height} (width x height), in place of "
            f"{sizes}"
        )
    return known[height, width]


@cache
def _windows(template: Template) -> dict[tuple[int, int], tuple[slice, slice]]:
    """Where a template's crop lies in crops of each size; asked for every photo."""
    return {
        (row.height, row.width): window
        for row in TEMPLATES.values()
        if (window := template.window_in(row)) is not None
    }
