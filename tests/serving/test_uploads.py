import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facever.choices import DEFAULT_MAX_PIXELS
from facever.errors import UploadError
from facever.serving import guard, uploads
from facever.serving.uploads import MAX_BYTES, Upload

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def encoded(kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(NOISE).save(content, kind, **options)
    return content.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A whole PNG of a few bytes whose header says how large it is."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 9999))
        + chunk(b"IEND", b"")
    )


def refusal(content: bytes) -> UploadError:
    with pytest.raises(UploadError) as refused:
        Upload(content, "photo.jpg").decode()
    return refused.value


def outcome(content: bytes) -> int:
    try:
        photo = Upload(content, "x").decode()
    except UploadError as refused:
        return refused.status
    return 200 if photo.ndim == 3 else 500


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP"])
def test_takes_what_browsers_show(kind: str) -> None:
    photo = Upload(encoded(kind), "x").decode()
    assert photo.shape == NOISE.shape


@pytest.mark.parametrize("kind", ["TIFF", "EPS", "PPM", "TGA", "ICO", "PCX", "PDF"])
def test_takes_no_other_kind(kind: str) -> None:
    refused = refusal(encoded(kind))
    assert refused.status == 415
    assert "send a JPEG, PNG" in str(refused)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff", b"\0" * 999])
def test_refuses_what_is_no_photo(content: bytes) -> None:
    assert refusal(content).status == 415


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (DEFAULT_MAX_PIXELS // 5000 + 1, 5000),
        (12_000, 12_000),
        (60_000, 60_000),
        (2**31 - 1, 9),
    ],
)
def test_refuses_too_many_pixels_by_the_header(
    monkeypatch: pytest.MonkeyPatch, width: int, height: int
) -> None:
    monkeypatch.setattr(uploads, "decode_photo", None)
    refused = refusal(png_that_claims(width, height))
    assert refused.status == 413
    assert f"{width}x{height} pixels, over the 80,000,000 that are" in str(refused)
    assert "--max-pixels" in str(refused)


def test_as_many_pixels_as_are_taken_get_decoded() -> None:
    refused = refusal(png_that_claims(DEFAULT_MAX_PIXELS // 5000, 5000))
    assert refused.status == 422
    assert "damaged or truncated" in str(refused)


def test_the_limit_is_the_server_s() -> None:
    # Above twice Pillow's own limit, at which Pillow refuses to open a file.
    content = png_that_claims(20_000, 20_000)
    with pytest.raises(UploadError, match="damaged or truncated") as refused:
        Upload(content, "photo.jpg").decode(400_000_000)
    assert refused.value.status == 422
    with pytest.raises(UploadError, match="over the 399,999,999 that") as refused:
        Upload(content, "photo.jpg").decode(399_999_999)
    assert refused.value.status == 413


def test_a_damaged_photo_is_refused_with_its_reason() -> None:
    refused = refusal(encoded("JPEG")[:-200])
    assert refused.status == 422
    assert str(refused).startswith("the photo cannot be read: damaged or truncated")


def test_too_many_bytes_are_refused() -> None:
    refused = refusal(encoded("PNG") + bytes(MAX_BYTES))
    assert (refused.status, "25 MB" in str(refused)) == (413, True)


def test_too_long_a_request_is_refused_by_its_header(client: TestClient) -> None:
    response = client.post(
        "/api/search",
        content=b"",
        headers={
            "content-length": str(guard.MAX_BODY_BYTES + 1),
            "content-type": "multipart/form-data; boundary=x",
        },
    )
    assert response.status_code == 413
    assert "25 MB are taken at most" in response.json()["error"]


def test_reading_stops_where_a_request_gets_too_long(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent in pieces, without a length in the header."""
    monkeypatch.setattr(guard, "MAX_BODY_BYTES", 10_000)

    def pieces() -> Iterator[bytes]:
        yield b'--x\r\ncontent-disposition: form-data; name="photo"; filename="a"'
        yield b"\r\n\r\n"
        for _ in range(1000):
            yield bytes(1000)
        yield b"\r\n--x--\r\n"

    response = client.post(
        "/api/search",
        content=pieces(),
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert response.status_code == 413
    assert "25 MB are taken at most" in response.json()["error"]


def test_faces_are_called_by_content_and_name() -> None:
    same = Upload(b"one", "C:\\photos\\Ann.jpg")
    assert same.source(0) == "uploads/7692c3ad3540/Ann.jpg"
    assert same.source(1) == "uploads/7692c3ad3540/Ann.jpg#1"
    assert Upload(b"two", "Ann.jpg").source(0) == "uploads/3fc4ccfe7458/Ann.jpg"
    assert Upload(b"one", "/etc/../").source(0) == "uploads/7692c3ad3540/photo"


@given(name=st.text(max_size=300), face=st.integers(0, 9))
def test_no_name_leaves_its_folder(name: str, face: int) -> None:
    source = Upload(b"one", name).source(face)
    folder, digest, shown = source.split("/")
    assert (folder, digest) == ("uploads", "7692c3ad3540")
    assert shown
    assert len(shown) <= 102
    assert shown.isprintable()
    assert "\\" not in shown


@given(
    at=st.integers(0, 3000),
    junk=st.binary(max_size=60),
    kind=st.sampled_from(uploads.FORMATS),
)
def test_damage_gives_a_photo_or_a_refusal(at: int, junk: bytes, kind: str) -> None:
    content = encoded(kind)
    at %= len(content)
    for damaged in (content[:at], content[:at] + junk + content[at + len(junk) :]):
        status = outcome(damaged)
        assert status in (200, 413, 415, 422)
