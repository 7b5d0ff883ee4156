"""Tar files made to harm, or damaged: one line each, and no memory."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from facever.data.sources.any_source import find_photos
from facever.errors import FileError


def photo_bytes():
    file = io.BytesIO()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def tar_bytes(names=("a/1.png", "b/2.png"), form=tarfile.PAX_FORMAT, pax=None):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(photo_bytes())
            member.pax_headers = pax or {}
            tar.addfile(member, io.BytesIO(photo_bytes()))
    return file.getvalue()


def claim_size(content, size):
    """The first header with another size in it, and the sum put right."""
    member = tarfile.TarInfo.frombuf(content[:512], "utf-8", "surrogateescape")
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)[:512] + content[512:]


@pytest.mark.parametrize(
    "pax",
    [
        {"size": "-5"},
        {"size": "-1024"},
        {"GNU.sparse.map": "a,b", "GNU.sparse.major": "0"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
    ],
)
def test_pax_headers_that_lie(tmp_path, pax):
    (tmp_path / "a.tar").write_bytes(tar_bytes(pax=pax))
    with pytest.raises(FileError, match=r"a.tar: byte 0: the header is damaged \("):
        find_photos(tmp_path / "a.tar")


def test_a_lie_behind_a_photo_costs_what_comes_behind(tmp_path):
    first = tar_bytes(["a.png"])
    one = 512 + (len(photo_bytes()) + 511) // 512 * 512
    (tmp_path / "a.tar").write_bytes(first[:one] + tar_bytes(pax={"size": "-5"}))
    photos = find_photos(tmp_path / "a.tar").photos
    assert [photo.source for photo in photos] == ["a.png", f"byte-{one}"]
    with pytest.raises(FileError, match=f"byte {one}: the header is damaged"):
        photos[1].read(1000)


@pytest.mark.parametrize("size", [8 << 30, (1 << 63) - 1])
def test_headers_of_any_size_take_no_memory(tmp_path, size):
    with_pax = tar_bytes(pax={"comment": "x"})
    (tmp_path / "header.tar").write_bytes(claim_size(with_pax, size))
    with pytest.raises(FileError, match="a header of over 1048576 bytes"):
        find_photos(tmp_path / "header.tar")
    (tmp_path / "member.tar").write_bytes(claim_size(tar_bytes(), size))
    photos = find_photos(tmp_path / "member.tar").photos
    with pytest.raises(FileError, match="byte 512: the tar file is cut off"):
        photos[0].read(1000)
