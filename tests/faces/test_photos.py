import io
import os
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facever.errors import PhotoError
from facever.faces import photos
from facever.faces.photos import _read_scans, decode_photo, photo_size, read_photo


def draw(height=40, width=60, seed=0):
    """A smooth picture (so that JPEG keeps it) without any symmetry."""
    rows, columns = np.mgrid[0:height, 0:width]
    red = 255 * rows / height
    green = 255 * columns / width
    blue = 255 * (rows + columns) / (height + width) * (1 - rows / (2 * height))
    return np.stack([red, green, blue], axis=2).round().astype(np.uint8)


def save(folder, picture, name, mode=None, **options):
    image = Image.fromarray(picture)
    path = folder / name
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("a.png", 0), ("a.bmp", 0), ("a.tif", 0), ("a.ppm", 0), ("a.jpg", 12)],
)
def test_colour_photos_come_as_rgb(tmp_path, name, tolerance):
    picture = draw()
    photo = read_photo(save(tmp_path, picture, name))
    assert photo.dtype == np.uint8
    assert photo.flags.c_contiguous
    assert np.abs(photo.astype(int) - picture).max() <= tolerance


@pytest.mark.parametrize("name", ["a.webp", "a.gif"])
def test_other_formats_come_close(tmp_path, name):
    photo = read_photo(save(tmp_path, draw(), name))
    assert np.abs(photo.astype(int) - draw()).mean() < 12


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_is_decoded_as_pillow_does(tmp_path, options):
    path = save(tmp_path, draw(97, 131), "a.jpg", quality=80, **options)
    expected = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert np.abs(read_photo(path) - expected).max() <= 2


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_grey(tmp_path, name):
    grey = draw()[..., 0]
    photo = read_photo(save(tmp_path, grey, name))
    assert photo.shape == (40, 60, 3)
    assert (photo == photo[..., :1]).all()
    assert np.abs(photo[..., 0].astype(int) - grey).max() <= 4


def test_one_bit(tmp_path):
    picture = np.zeros((8, 16), dtype=bool)
    picture[:, 8:] = True
    photo = read_photo(save(tmp_path, picture, "a.png"))
    np.testing.assert_array_equal(photo[..., 1], picture * 255)


def test_palette(tmp_path):
    picture = np.zeros((10, 20, 3), dtype=np.uint8)
    picture[:, :10] = [200, 10, 30]
    picture[:, 10:] = [0, 120, 250]
    path = tmp_path / "a.png"
    Image.fromarray(picture).quantize(2).save(path)
    assert Image.open(path).mode == "P"
    np.testing.assert_array_equal(read_photo(path), picture)


def test_transparent_pixels_are_laid_on_white(tmp_path):
    picture = np.zeros((4, 3, 4), dtype=np.uint8)
    picture[0] = [100, 50, 0, 255]
    picture[1] = [100, 50, 0, 0]
    # alpha 51 / 255 = 0.2: 0.2 * 100 + 0.8 * 255 = 224, 0.2 * 50 + 204 = 214, 204.
    picture[2] = [100, 50, 0, 51]
    photo = read_photo(save(tmp_path, picture, "a.png"))
    assert photo[0, 0].tolist() == [100, 50, 0]
    assert photo[1, 0].tolist() == [255, 255, 255]
    assert np.abs(photo[2, 0].astype(int) - [224, 214, 204]).max() <= 1


def test_a_transparent_palette_colour_is_laid_on_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png", transparency=1)
    photo = read_photo(tmp_path / "a.png")
    assert photo.tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_grey_with_alpha(tmp_path):
    picture = np.array([[[90, 255], [90, 0]]], dtype=np.uint8)
    photo = read_photo(save(tmp_path, picture, "a.png"))
    assert photo.tolist() == [[[90] * 3, [255] * 3]]


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk(tmp_path, name):
    picture = draw()
    path = save(tmp_path, picture, name, mode="CMYK")
    assert Image.open(path).mode == "CMYK"
    assert np.abs(read_photo(path).astype(int) - picture).max() <= 12


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_grey_is_scaled(tmp_path, name):
    values = np.array([[0, 128, 129, 257, 32768, 65535]], dtype=np.uint16)
    cv2.imwrite(str(tmp_path / name), values)
    photo = read_photo(tmp_path / name)
    # value / 257 to the nearest: 128 / 257 = 0.498, 129 / 257 = 0.502.
    assert photo[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]
    assert (photo == photo[..., :1]).all()


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_colour_is_scaled(tmp_path, name):
    picture = draw()
    cv2.imwrite(str(tmp_path / name), picture[..., ::-1].astype(np.uint16) * 257)
    assert np.abs(read_photo(tmp_path / name).astype(int) - picture).max() <= 1


def test_float_pixels_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(PhotoError, match=r"mode F.*no defined range"):
        read_photo(tmp_path / "a.tif")


def turned_by_definition(upright, orientation):
    """The stored rows and columns for an upright picture, as EXIF 2.3 defines them.

    Orientation names where row 0 and column 0 of the stored picture stand in the
    upright one: 1 top left, 2 top right, 3 bottom right, 4 bottom left, 5 left top,
    6 right top, 7 right bottom, 8 left bottom.
    """
    height, width, _ = upright.shape
    turned = orientation >= 5
    stored = np.empty((width, height, 3) if turned else upright.shape, np.uint8)
    for row in range(stored.shape[0]):
        for column in range(stored.shape[1]):
            y, x = (column, row) if turned else (row, column)
            if orientation in (3, 4, 7, 8):
                y = height - 1 - y
            if orientation in (2, 3, 6, 7):
                x = width - 1 - x
            stored[row, column] = upright[y, x]
    return stored


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_exif_orientation_is_applied(tmp_path, orientation, name):
    upright = draw()
    stored = Image.fromarray(turned_by_definition(upright, orientation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / name, exif=exif, quality=95)
    photo = read_photo(tmp_path / name)
    assert photo.shape == upright.shape
    assert photo.flags.c_contiguous
    assert np.abs(photo.astype(int) - upright).mean() < 3


def test_an_unknown_orientation_is_left_alone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 77
    Image.fromarray(draw()).save(tmp_path / "a.jpg", exif=exif)
    assert read_photo(tmp_path / "a.jpg").shape == (40, 60, 3)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp", "a.bmp"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.7, 0.97])
def test_a_truncated_photo_is_refused(tmp_path, name, part):
    path = save(tmp_path, draw(200, 300), name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(PhotoError):
        read_photo(path)


def test_a_truncated_jpeg_with_a_whole_thumbnail_is_refused(tmp_path):
    thumbnail = io.BytesIO()
    Image.fromarray(draw(20, 20)).save(thumbnail, "JPEG")
    comment = thumbnail.getvalue()
    path = save(tmp_path, draw(200, 300), "a.jpg", comment=comment)
    whole = path.read_bytes()
    read_photo(path)
    path.write_bytes(whole[: len(whole) * 3 // 4])
    assert b"\xff\xd9" in path.read_bytes()
    with pytest.raises(PhotoError, match="truncated"):
        read_photo(path)


def test_completeness_is_judged_behind_the_first_scan(tmp_path):
    # Some OpenCV releases refuse a truncated JPEG themselves, others do not.
    inner = save(tmp_path, draw(20, 20), "inner.jpg").read_bytes()
    for options in ({}, {"progressive": True}):
        path = save(tmp_path, draw(200, 300), "a.jpg", comment=inner, **options)
        whole = path.read_bytes()
        # Pillow writes progressive colour JPEGs by libjpeg's script of ten scans.
        num_scans = 10 if options else 1
        assert _read_scans(whole) == (num_scans, True)
        assert _read_scans(whole + b"trailer") == (num_scans, True)
        for part in (0.0, 0.02, 0.2, 0.5, 0.9):
            assert not _read_scans(whole[: int(len(whole) * part)])[1]
        assert _read_scans(whole[:-2]) == (num_scans, False)


def jpeg_of_scans(folder, num_scans):
    """A progressive JPEG that refines its last coefficient again and again."""
    path = save(folder, draw(), "scans.jpg", progressive=True)
    whole = path.read_bytes()
    last = whole.rindex(b"\xff\xda")
    scan = whole[last:-2]
    path.write_bytes(whole[:-2] + scan * (num_scans - 10) + b"\xff\xd9")
    return path


def test_a_jpeg_of_very_many_scans_is_not_decoded(tmp_path, monkeypatch):
    assert read_photo(jpeg_of_scans(tmp_path, 100)).shape == (40, 60, 3)
    path = jpeg_of_scans(tmp_path, 101)
    monkeypatch.setattr(photos.cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr(photos, "_decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(PhotoError, match=r"^too many scans: 101, the limit is 100$"):
        read_photo(path)


def test_a_whole_jpeg_with_trailing_bytes_is_read(tmp_path):
    path = save(tmp_path, draw(), "a.jpg")
    expected = read_photo(path)
    path.write_bytes(path.read_bytes() + b"trailer" * 100)
    np.testing.assert_array_equal(read_photo(path), expected)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty file"),
        (b"not a photo at all", "not an image"),
        (b"\xff\xd8\xff", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "not an image"),
        (bytes(1000), "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" width="9"/>', "not an image"),
    ],
)
def test_files_that_are_no_photos(tmp_path, content, why):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(PhotoError, match=why):
        read_photo(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(PhotoError, match="cannot be opened: No such file"):
        read_photo(tmp_path / "a.jpg")
    with pytest.raises(PhotoError, match="not a file, but"):
        read_photo(tmp_path)


def png_that_claims(width, height):
    """A PNG of a few bytes whose header promises many pixels."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 60_000])
def test_a_photo_that_would_expand_is_refused_by_its_header(tmp_path, side):
    path = tmp_path / "a.png"
    path.write_bytes(png_that_claims(side, side))
    with pytest.raises(PhotoError, match="too large"):
        read_photo(path)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device", "folder"])
def test_what_is_no_file_is_not_opened(tmp_path, kind):
    path = tmp_path / "a.jpg"
    if kind == "pipe":
        os.mkfifo(path)  # nobody ever writes into it
    elif kind == "folder":
        path.mkdir()
    else:
        path = Path("/dev/zero")
    if kind == "link to a device":
        (tmp_path / "a.jpg").symlink_to(path)
        path = tmp_path / "a.jpg"
    with pytest.raises(PhotoError, match="not a file, but a pipe"):
        read_photo(path)


def test_a_file_over_the_limit_is_not_even_read(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(bytes(11))
    monkeypatch.setattr(photos, "MAX_FILE_BYTES", 10)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("read"))
    with pytest.raises(PhotoError, match="too large: the file has over 10 bytes"):
        read_photo(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif"])
def test_the_limit_is_ours_whatever_pillows_is(tmp_path, monkeypatch, name):
    # 2400 pixels are over twice Pillow's limit, which it refuses.
    path = save(tmp_path, draw(40, 60), name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert read_photo(path, max_pixels=2400).shape == (40, 60, 3)
    assert photo_size(path.read_bytes()) == (40, 60)
    with pytest.raises(PhotoError, match="60x40 is over 2399 pixels"):
        read_photo(path, max_pixels=2399)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_the_pixel_limit_is_inclusive(tmp_path):
    path = save(tmp_path, draw(40, 60), "a.jpg")
    assert read_photo(path, max_pixels=2400).shape == (40, 60, 3)
    with pytest.raises(PhotoError, match="60x40 is over 2399 pixels"):
        read_photo(path, max_pixels=2399)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_damaged_bytes_give_a_photo_or_a_reason(tmp_path, name, seed):
    rng = np.random.default_rng(seed)
    path = save(tmp_path, draw(), name)
    content = bytearray(path.read_bytes())
    for at in rng.integers(0, len(content), 8):
        content[at] = rng.integers(0, 256)
    path.write_bytes(content)
    try:
        photo = read_photo(path)
    except PhotoError:
        return
    assert photo.dtype == np.uint8
    assert photo.ndim == 3


@pytest.mark.realdata
def test_real_photos_are_read_as_pillow_reads_them(data_folder):
    paths = sorted((data_folder / "lfw-deepfunneled").glob("*/*_0001.jpg"))[::200]
    assert len(paths) > 25
    for path in paths:
        expected = np.asarray(Image.open(path).convert("RGB")).astype(int)
        assert np.abs(read_photo(path) - expected).max() <= 2


HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(200)


def test_heic_names_the_package_that_reads_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PhotoError, match=r"pip install '\.\[heic\]'"):
        decode_photo(HEIC)


def test_heic_is_read_where_the_package_is():
    pytest.importorskip("pillow_heif").register_heif_opener()
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 10, 30)).save(file, "HEIF")
    photo = decode_photo(file.getvalue())
    assert photo.shape == (48, 64, 3)
    assert np.abs(photo[20, 20].astype(int) - (200, 10, 30)).max() < 10
    with pytest.raises(PhotoError, match=r"not an image|damaged"):
        decode_photo(HEIC)
