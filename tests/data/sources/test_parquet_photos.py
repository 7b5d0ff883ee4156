"""Photos in parquet files."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from facever.data.sources.any_source import find_photos
from facever.errors import DataError, FaceverError, FileError, PhotoError

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 6, 5, 3), dtype=np.uint8)


def coded() -> list[bytes]:
    photos = []
    for pixels in PIXELS:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        photos.append(file.getvalue())
    return photos


def write(path: Path, **columns: Any) -> Path:
    # Three row groups: of three photos, of three and of one.
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return path


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), "structure"])
@pytest.mark.parametrize("column", ["image", "crop"])
def test_every_form_of_photos(tmp_path: Path, kind: Any, column: str) -> None:
    photos = pa.array(coded(), pa.binary() if kind == "structure" else kind)
    if kind == "structure":
        paths = pa.array(["unused"] * 7)
        photos = pa.StructArray.from_arrays([photos, paths], ["bytes", "path"])
    sources = [f"Ann/{number}.png" for number in range(7)]
    names = ["Ann Lee", *["Bo"] * 6]
    table = {column: photos, "source": sources, "identity": names, "label": [9] * 7}
    listing = find_photos(write(tmp_path / "a.parquet", **table))
    assert [photo.source for photo in listing.photos] == sources
    assert [photo.identity for photo in listing.photos] == names
    # In any order, as several workers read them.
    for row in (6, 0, 5, 1, 4, 2, 3):
        np.testing.assert_array_equal(listing.photos[row].read(100), PIXELS[row])
    assert len({photo.digest() for photo in listing.photos}) == 7


def test_a_folder_of_files_without_names(tmp_path: Path) -> None:
    write(tmp_path / "b.parquet", image=coded()[4:], label=[7, 7, 8])
    write(tmp_path / "a.parquet", image=coded()[:4], label=[5, 5, 6, 7])
    photos = find_photos(tmp_path).photos
    assert [(photo.source, photo.identity) for photo in photos] == [
        ("a/000000", "5"),
        ("a/000001", "5"),
        ("a/000002", "6"),
        ("a/000003", "7"),
        ("b/000000", "7"),
        ("b/000001", "7"),
        ("b/000002", "8"),
    ]
    for photo, pixels in zip(photos, PIXELS, strict=True):
        np.testing.assert_array_equal(photo.read(100), pixels)
    alone = find_photos(write(tmp_path / "alone/a.parquet", image=coded())).photos
    assert len({photo.identity for photo in alone}) == 7


def test_a_table_beside_photos_is_no_source(tmp_path: Path) -> None:
    write(tmp_path / "metadata.parquet", text=["a"])
    (tmp_path / "0001.png").write_bytes(coded()[0])
    assert [photo.source for photo in find_photos(tmp_path).photos] == ["0001.png"]


def test_what_is_wrong(tmp_path: Path) -> None:
    path, photos = tmp_path / "a.parquet", coded()
    write(path, pictures=photos)
    with pytest.raises(DataError, match=r"no column of photos: .* it has pictures"):
        find_photos(path)
    write(path, image=[[1, 2]] * 7)
    with pytest.raises(DataError, match="no column of photos"):
        find_photos(path)
    write(path, image=photos, source=["a.png"] * 7)
    with pytest.raises(DataError, match=r"a\.png is there twice"):
        find_photos(path)
    write(path, image=photos, source=[*map(str, range(6)), "../a.png"])
    with pytest.raises(DataError, match=r"row 6: '\.\./a\.png' is not a path below"):
        find_photos(path)
    write(path, image=photos, identity=[*"abcde", None, "f"])
    with pytest.raises(DataError, match="row 5: the identity is empty"):
        find_photos(path)
    write(path, image=[*photos[:5], None, b"no photo"])
    *_, none, damaged = find_photos(path).photos
    with pytest.raises(PhotoError, match="row 2 of row group 1 holds no photo"):
        none.read(100)
    with pytest.raises(PhotoError, match="row 0 of row group 2: "):
        damaged.read(100)
    path.write_bytes(b"PAR1")
    with pytest.raises(FileError, match="no parquet file, or damaged"):
        find_photos(path)
    damaged.path.unlink()
    with pytest.raises(PhotoError, match="row 0 of row group 2"):
        damaged.read(100)


def test_a_row_group_that_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.parquet", image=coded())
    monkeypatch.setattr("facever.data.sources.parquet_photos.MAX_FILE_BYTES", 300)
    with pytest.raises(DataError, match=r"row group 0 have .* up to a thousand photos"):
        find_photos(path)


def test_damaged_files_are_refused_or_listed(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(7)]
    whole = write(tmp_path / "a.parquet", image=coded(), source=names).read_bytes()
    rng = np.random.default_rng(0)
    path, read = tmp_path / "damaged.parquet", 0
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), rng.integers(1, 5)):
            content[place] = rng.integers(256)
        path.write_bytes(content[: rng.choice([len(content), len(content) - 1])])
        try:
            for photo in find_photos(path).photos:
                read += photo.read(100).size > 0
        except FaceverError:
            pass
    assert 0 < read < 300 * 7
