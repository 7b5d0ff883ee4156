import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.errors import DataError, FileError, ParameterError
from facever.inference.embeddings_file import (
    EmbeddingsFile,
    read_embeddings,
    write_embeddings,
)

GOOD: dict[str, Any] = {
    "embeddings": np.eye(2, 3, dtype=np.float16),
    "images": np.array(["A/A_0001.jpg", "B/B_0001.jpg"]),
}


def test_reads_what_was_stored(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.npz"
    np.savez(path, **GOOD)
    file = read_embeddings(path)
    np.testing.assert_array_equal(file.embeddings, GOOD["embeddings"])
    assert file.embeddings.dtype == np.float16
    assert file.images == ["A/A_0001.jpg", "B/B_0001.jpg"]
    assert file.model_fingerprint is None
    np.savez_compressed(path, **GOOD, model_fingerprint="abc")
    assert read_embeddings(path).model_fingerprint == "abc"


@pytest.mark.parametrize(
    ("names", "array"),
    [
        (("features", "images"), "features"),
        (("features", "paths"), "features,paths"),
        (("arr_0", "arr_1"), " arr_0 , arr_1 "),
        (("images", "embeddings"), "images,embeddings"),
    ],
)
def test_arrays_of_other_names(
    tmp_path: Path, names: tuple[str, str], array: str
) -> None:
    path = tmp_path / "theirs.npz"
    np.savez(path, **dict(zip(names, GOOD.values(), strict=True)))
    file = read_embeddings(path, array)
    np.testing.assert_array_equal(file.embeddings, GOOD["embeddings"])
    assert file.images == GOOD["images"].tolist()


def test_names_of_arrays_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "theirs.npz"
    np.savez(path, features=GOOD["embeddings"], paths=GOOD["images"])
    with pytest.raises(DataError, match=r"has features, paths; .*--array") as caught:
        read_embeddings(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no array 'images'"):
        read_embeddings(path, "features")
    with pytest.raises(DataError, match="paths must be floating point numbers"):
        read_embeddings(path, "paths,features")
    for array in ("", "a,", ",a", "a,b,c"):
        with pytest.raises(ParameterError, match="array must be the name"):
            read_embeddings(path, array)


def test_an_array_for_each_photo_is_not_listed_whole(tmp_path: Path) -> None:
    path = tmp_path / "theirs.npz"
    np.savez(path, **{f"p{number}": np.ones(3) for number in range(7000)})
    with pytest.raises(DataError, match=r"p0, p1, .*p7 and 6,992 more") as caught:
        read_embeddings(path)
    assert len(str(caught.value)) < 500 + len(str(path))


@given(
    num_photos=st.integers(1, 9),
    size=st.integers(1, 9),
    kind=st.sampled_from(["<f2", "<f4", "<f8", ">f4", ">f8"]),
    order=st.sampled_from("CF"),
    version=st.sampled_from([(1, 0), (2, 0), (3, 0), None]),
    compression=st.sampled_from(
        [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    ),
    names=st.sampled_from([None, ("features", "paths"), ("features", "images")]),
    more=st.sets(st.sampled_from(["model_fingerprint", "checksums", "labels", "gone"])),
)
def test_every_form_gives_the_embeddings(
    tmp_path_factory: pytest.TempPathFactory,
    num_photos: int,
    size: int,
    kind: str,
    order: str,
    version: tuple[int, int] | None,
    compression: int,
    names: tuple[str, str] | None,
    more: set[str],
) -> None:
    """Types, orders, NumPy's versions of the form, compressions, names, more arrays."""
    expected = [[row + 0.25 * column for column in range(size)] for row in range(9)]
    expected = expected[:num_photos]
    photos = [f"Zoë王\U0001f600/{'x' * number}.jpg" for number in range(num_photos)]
    others = {
        "model_fingerprint": np.array("abc"),
        "checksums": np.arange(num_photos, dtype=np.uint32),
        "labels": np.arange(3),
        "gone": np.array(["never", None], dtype=object),
    }
    arrays = {
        (names or ("embeddings", "images"))[0]: np.array(expected, kind, order=order),
        (names or ("embeddings", "images"))[1]: np.array(photos).astype(f"{kind[0]}U"),
        **{name: others[name] for name in more},
    }
    path = tmp_path_factory.mktemp("npz") / "some.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, version)
    option = None if names is None else ",".join(names[: 1 + (names[1] != "images")])
    found = read_embeddings(path, option)
    assert found.embeddings.tolist() == expected
    assert found.images == photos
    assert found.model_fingerprint == ("abc" if "model_fingerprint" in more else None)
    assert (found.checksums is not None) == ("checksums" in more)


@pytest.mark.parametrize("fingerprint", [None, "abc"])
def test_what_was_written_is_read(tmp_path: Path, fingerprint: str | None) -> None:
    path = tmp_path / "any.name"
    names = GOOD["images"].tolist()
    write_embeddings(path, EmbeddingsFile(GOOD["embeddings"], names, fingerprint))
    assert [each.name for each in tmp_path.iterdir()] == ["any.name"]
    file = read_embeddings(str(path))
    np.testing.assert_array_equal(file.embeddings, GOOD["embeddings"])
    assert (file.images, file.model_fingerprint) == (names, fingerprint)


def test_checksums_of_crops_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.npz"
    names = GOOD["images"].tolist()
    checksums = np.array([7, 2**32 - 1], np.uint32)
    content = EmbeddingsFile(GOOD["embeddings"], names, "abc", checksums)
    write_embeddings(path, content)
    np.testing.assert_array_equal(read_embeddings(path).checksums, checksums)


def test_names_of_files_that_are_not_utf_8(tmp_path: Path) -> None:
    """As Python spells them, and as the crop store keeps them."""
    names = [b"A/\xff.jpg".decode(errors="surrogateescape"), "B/王.jpg"]
    write_embeddings(
        tmp_path / "a.npz", EmbeddingsFile(GOOD["embeddings"], names, None)
    )
    assert read_embeddings(tmp_path / "a.npz").images == names


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"embeddings": None}, "no array 'embeddings', it has images"),
        ({"images": None}, "no array 'images', it has embeddings"),
        ({"embeddings": np.ones(2)}, r"shape \[N, D\], got float64 of shape \[2\]"),
        ({"embeddings": np.ones((2, 3), dtype=np.int64)}, "got int64"),
        ({"embeddings": np.ones((2, 0))}, r"of shape \[2, 0\]"),
        ({"embeddings": np.ones((3, 3))}, "one length, got 3 and 2"),
        ({"images": np.array([1, 2])}, "images must be text"),
        ({"checksums": np.array([1, 2])}, r"checksums must be uint32 .* got int64"),
        ({"checksums": np.zeros(3, np.uint32)}, r"of shape \[2\], got uint32 .*\[3\]"),
        ({"images": np.array([["a", "b"]])}, r"of shape \[1, 2\]"),
        ({"images": np.array(["a", "\ud800"])}, "images holds letters that are none"),
        (
            {"images": np.full((2, 3), -1, np.int32).view("U3")[:, 0]},
            "letters that are",
        ),
        ({"model_fingerprint": np.arange(3)}, r"must be a text, got int64 of .*\[3\]"),
        ({"model_fingerprint": np.array("\ud800")}, "model_fingerprint holds letters"),
        ({"images": np.array([Hostile(), "b"], dtype=object)}, "array 'images'"),
        ({"embeddings": np.array([Hostile()], dtype=object)}, "array 'embeddings'"),
    ],
)
def test_wrong_arrays(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = tmp_path / "embeddings.npz"
    arrays = {k: v for k, v in {**GOOD, **change}.items() if v is not None}
    np.savez(path, allow_pickle=True, **arrays)
    with pytest.raises(DataError, match=says) as caught:
        read_embeddings(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no embeddings file at"):
        read_embeddings(tmp_path / "none.npz")
    with pytest.raises(FileError, match="no embeddings file at"):
        read_embeddings(tmp_path)
    path = tmp_path / "embeddings.npz"
    for content in (b"", b"text", b"PK\x03\x04 cut short", b"\x80\x04K\x01."):
        path.write_bytes(content)
        with pytest.raises(FileError, match=r"is not an \.npz file"):
            read_embeddings(path)
    with path.open("wb") as file:
        np.save(file, np.ones((2, 3)))
    with pytest.raises(FileError, match="a single array"):
        read_embeddings(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("embeddings.npy", b"no array")
        archive.writestr("images.npy", b"")
    with pytest.raises(DataError, match="'embeddings'"):
        read_embeddings(path)
    np.savez(path, **GOOD)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FileError, match=r"is not an \.npz file"):
        read_embeddings(path)


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [(6, 1, "encrypted"), (8, 99, "compression method")],
    ids=["a password", "an unknown compression"],
)
def test_a_zip_that_cannot_be_opened(
    tmp_path: Path, at: int, value: int, why: str
) -> None:
    path = tmp_path / "embeddings.npz"
    np.savez_compressed(path, **GOOD)
    content = bytearray(path.read_bytes())
    # The field of each local header, and of each entry of the directory 2 bytes on.
    for magic, shift in [(b"PK\x03\x04", 0), (b"PK\x01\x02", 2)]:
        start = content.find(magic)
        while start >= 0:
            content[start + at + shift] = value
            start = content.find(magic, start + 4)
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"cannot read the array 'embeddings'.*{why}"):
        read_embeddings(path)
