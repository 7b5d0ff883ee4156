"""From pixels to a network's numbers, as the projects whose networks are about do it.

Where the makers of a network say nothing, these are what is tried; a new one is a row.
"""

from typing import NamedTuple

Numbers = float | list[float]


class PixelScale(NamedTuple):
    """``(pixel - mean) / scale``, of pixels in [0, 255].

    Attributes:
        used_by: Whose networks want it.
        mean: One number, or one for each of red, green and blue.
        scale: Positive; likewise.
    """

    used_by: str
    mean: Numbers
    scale: Numbers


PIXEL_SCALES: dict[str, PixelScale] = {
    "(x-127.5)/127.5": PixelScale("InsightFace, AdaFace", 127.5, 127.5),
    "(x-127.5)/128": PixelScale("FaceNet, SphereFace, facever", 127.5, 128.0),
    "x": PixelScale("networks that shift and scale by themselves", 0.0, 1.0),
    "x/255": PixelScale("PyTorch's ToTensor alone", 0.0, 255.0),
    "ImageNet": PixelScale(
        "torchvision, fine-tuned", [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    ),
    "dlib": PixelScale("dlib", [122.782, 117.001, 104.298], 256.0),
}
"""By its formula or the name it goes by; the most common first."""
