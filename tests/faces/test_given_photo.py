"""A photo is the same photo, whatever it is held in."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facever.errors import ParameterError, PhotoError
from facever.faces.given_photo import as_source, as_sources, is_one_photo
from facever.faces.photo_source import PhotoSource
from facever.faces.photos import read_photo

COLOURS = np.random.default_rng(1).integers(0, 256, (6, 5, 3), dtype=np.uint8)
GREY = np.random.default_rng(2).integers(0, 256, (6, 5), dtype=np.uint8)


def pixels(photo: Any, **options: Any) -> np.ndarray:
    return as_source(photo, **options).read(10**8)


def png(mode: str = "RGB", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(COLOURS).convert(mode).save(stream, "PNG", **options)
    return stream.getvalue()


def stream_of_photo(content: bytes) -> io.BytesIO:
    """A stream that stands where the photo begins, behind something else."""
    stream = io.BytesIO(b"before" + content)
    stream.seek(6)
    return stream


KINDS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "text": str,
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "open file": lambda path: path.open("rb"),
    "stream": lambda path: stream_of_photo(path.read_bytes()),
    "PIL": Image.open,
    "PIL in memory": lambda path: Image.fromarray(COLOURS),
    "array": lambda path: COLOURS,
    "array of a view": lambda path: COLOURS[:, :, ::-1].copy()[:, :, ::-1],
    "float64": lambda path: COLOURS / 255,
    "float32": lambda path: (COLOURS / 255).astype(np.float32),
    "float16": lambda path: (COLOURS / 255).astype(np.float16),
    "RGBA": lambda path: np.dstack([COLOURS, np.full((6, 5), 255, np.uint8)]),
    "listed": lambda path: PhotoSource("x", "", path),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_pixels(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(png())
    given = KINDS[kind](path)
    assert is_one_photo(given)
    found = pixels(given)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, COLOURS)


def test_grey_arrays_have_three_equal_colours() -> None:
    expected = np.stack([GREY, GREY, GREY], axis=2)
    for array in (GREY, GREY[:, :, None], GREY / 255, (GREY / 255)[:, :, None]):
        np.testing.assert_array_equal(pixels(array), expected)
        np.testing.assert_array_equal(pixels(array, channels="bgr"), expected)


def test_floats_are_rounded_to_the_nearest() -> None:
    array = np.array([[0.4, 0.6, 127.4, 254.4, 254.6, 255]]) / 255
    assert pixels(array)[0, :, 0].tolist() == [0, 1, 127, 254, 255, 255]


def test_bgr_is_the_order_of_arrays_alone(tmp_path: Path) -> None:
    bgr = COLOURS[:, :, ::-1]
    for array in (bgr, bgr / 255):
        np.testing.assert_array_equal(pixels(array, channels="bgr"), COLOURS)
    path = tmp_path / "photo.png"
    path.write_bytes(png())
    for other in (path, path.read_bytes(), Image.open(path), path.open("rb")):
        np.testing.assert_array_equal(pixels(other, channels="bgr"), COLOURS)


def test_transparency_lies_on_white_as_in_files(tmp_path: Path) -> None:
    alpha = np.linspace(0, 255, 30).astype(np.uint8).reshape(6, 5)
    array = np.dstack([COLOURS, alpha])
    share = alpha[:, :, None] / 255
    found = pixels(array)
    # Pillow rounds twice on its way: one step is allowed.
    np.testing.assert_allclose(found, COLOURS * share + 255 * (1 - share), atol=1)
    path = tmp_path / "photo.png"
    Image.fromarray(array).save(path)
    np.testing.assert_array_equal(found, read_photo(path))
    bgra = array[:, :, [2, 1, 0, 3]]
    np.testing.assert_array_equal(pixels(bgra, channels="bgr"), found)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_images_of_every_mode_are_taken(mode: str) -> None:
    image = Image.fromarray(COLOURS).convert(mode)
    np.testing.assert_array_equal(pixels(image), np.array(image.convert("RGB")))


def test_sixteen_bits_are_scaled_to_eight() -> None:
    image = Image.fromarray(GREY.astype(np.uint16) * 257)
    np.testing.assert_array_equal(pixels(image)[:, :, 0], GREY)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pil_image_is_turned_upright_as_its_file_is(
    orientation: int, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.png"
    path.write_bytes(png(exif=exif))
    image = Image.open(path)
    found = pixels(image)
    np.testing.assert_array_equal(found, read_photo(path))
    turns = {1: 0, 3: 2, 6: -1, 8: 1}
    if orientation in turns:
        np.testing.assert_array_equal(found, np.rot90(COLOURS, turns[orientation]))
    assert image.size == (5, 6)  # The caller's image stays as it was.


def test_what_has_no_name_is_called_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(png())
    photos = [
        *(str(path), COLOURS, path.read_bytes(), io.BytesIO(), path.open("rb")),
        *(Image.open(path), Image.fromarray(COLOURS)),
    ]
    assert [source.source for source in as_sources(photos)] == [
        *(str(path), "array 1", "bytes 2", "file 3", str(path)),
        *(str(path), "image 6"),
    ]


def test_many_are_taken_one_by_one() -> None:
    asked = []

    def generate() -> Any:
        for number in range(3):
            asked.append(number)
            yield COLOURS

    sources = as_sources(generate())
    next(sources)
    assert asked == [0]
    stack = np.stack([COLOURS, COLOURS[::-1]])
    assert not is_one_photo(stack)
    second = list(as_sources(stack))[1]
    np.testing.assert_array_equal(second.read(100), COLOURS[::-1])


UNREADABLE = {
    "empty bytes": (lambda: b"", "empty file"),
    "bytes of no image": (lambda: b"no image", "not an image that can be read"),
    "truncated": (lambda: png()[:-30], "damaged or truncated"),
    "read already": (lambda: stream_of_photo(b""), r"nothing is left .* seek\(0\)"),
    "empty image": (lambda: Image.new("RGB", (0, 3)), "empty: 0x3 pixels"),
    "truncated image": (
        lambda: Image.open(io.BytesIO(png()[:-30])),
        "damaged or truncated",
    ),
    "32 bits": (lambda: Image.new("F", (3, 3)), "no defined range"),
    "missing": (lambda: "none.jpg", "cannot be opened"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_read_says_why(kind: str) -> None:
    make, reason = UNREADABLE[kind]
    source = as_source(make())
    with pytest.raises(PhotoError, match=reason):
        source.read(10**8)


def test_a_closed_file_is_a_photo_that_cannot_be_read() -> None:
    stream = io.BytesIO(png())
    stream.close()
    with pytest.raises(PhotoError, match="cannot be read: I/O operation on closed"):
        pixels(stream)


REFUSED: dict[str, tuple[Any, str]] = {
    "number": (7, "got int"),
    "nothing": (None, "got NoneType"),
    "nested list": ([[1, 2], [3, 4]], "got list: give one photo at a time"),
    "two photos": (("a.jpg", "b.jpg"), "got tuple: give one photo at a time"),
    "generator": ((name for name in ["a.jpg"]), "got generator: give one photo at a"),
    "integers": (COLOURS.astype(int), r"an array \[6, 5, 3\] of int64"),
    "16 bits": (COLOURS.astype(np.uint16), r"an array \[6, 5, 3\] of uint16"),
    "bool": (GREY > 9, r"an array \[6, 5\] of bool"),
    "colours first": (np.moveaxis(COLOURS, 2, 0), r"an array \[3, 6, 5\] of uint8"),
    "empty": (COLOURS[:0], r"an array \[0, 5, 3\] of uint8"),
    "two colours": (COLOURS[:, :, :2], r"an array \[6, 5, 2\] of uint8"),
    "one axis": (COLOURS[0, 0], r"an array \[3\] of uint8"),
    "floats to 255": (
        np.array([[0.0, 255]]),
        "in 0..1 without NaN, got 0 to 255; divide",
    ),
    "floats below": (np.array([[-0.5, 0.5]]), "in 0..1 without NaN, got -0.5 to 0.5"),
    "NaN": (np.full((2, 2), np.nan), "in 0..1 without NaN, got nan to nan"),
    "one NaN": (np.array([[0.5, np.nan]]), "in 0..1 without NaN"),
    "infinity": (np.full((2, 2), np.inf), "in 0..1 without NaN, got inf"),
    "address": ("https://example.org/a.jpg", "nothing is downloaded.*example.org/a.jp"),
    "bucket": ("s3://bucket/a.jpg", "nothing is downloaded"),
    "data address": ("data:image/png;base64,aaaa", "nothing is downloaded"),
}


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_photo_is_refused(kind: str) -> None:
    given, message = REFUSED[kind]
    with pytest.raises(ParameterError, match=message) as refusal:
        as_source(given)
    assert "\n" not in str(refusal.value)
    if "got" in message and "0..1 without" not in message:
        assert "a path, the bytes of an image file" in str(refusal.value)


@pytest.mark.usefixtures("types_unchecked")
def test_a_tensor_and_a_file_open_as_text_are_refused(tmp_path: Path) -> None:
    import torch

    with pytest.raises(ParameterError, match="got Tensor"):
        as_source(torch.zeros(3, 4, 5))
    path = tmp_path / "text"
    path.write_text("text")
    with path.open() as file, pytest.raises(ParameterError, match="open as text"):
        pixels(file)


@pytest.mark.usefixtures("types_unchecked")
def test_channels_and_a_photo_in_place_of_photos_are_refused() -> None:
    with pytest.raises(ParameterError, match="channels must be rgb or bgr, got 'gbr'"):
        as_source(COLOURS, channels="gbr")
    for channels in ("bgr", "BGR"):
        found = as_source(COLOURS[:, :, ::-1], channels=channels).read(10**6)
        np.testing.assert_array_equal(found, COLOURS)
    for one in ("a.jpg", Path("a.jpg"), COLOURS, b"bytes"):
        with pytest.raises(ParameterError, match="must be a list of photos, got one"):
            list(as_sources(one))
    with pytest.raises(ParameterError, match=r"a photo must be .* got int"):
        list(as_sources(3))
