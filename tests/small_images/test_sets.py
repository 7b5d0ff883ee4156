import gzip
import hashlib
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from facever.errors import DataError, FileError, ParameterError
from facever.small_images import published
from facever.small_images.formats import CIFAR10, parse_binary, parse_idx, parse_python
from facever.small_images.sets import SmallImageSet, read_small_images


def check_equal(found: SmallImageSet, written: dict) -> None:
    for part in ("train", "test"):
        images, labels = written[part]
        np.testing.assert_array_equal(getattr(found, part).images, images)
        np.testing.assert_array_equal(getattr(found, part).labels, labels)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx(
    tmp_path: Path, small_image_files: SimpleNamespace, name: str, packed: bool
) -> None:
    written = small_image_files.write_mnist(tmp_path, packed)
    found = read_small_images(name, tmp_path, verify=False)
    check_equal(found, written)
    assert (found.num_classes, found.verified) == (10, False)


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("form", ["python", "binary"])
@pytest.mark.parametrize("packed", [True, False])
def test_cifar(
    tmp_path: Path,
    small_image_files: SimpleNamespace,
    classes: int,
    form: str,
    packed: bool,
) -> None:
    written = small_image_files.write_cifar(tmp_path, classes, form, packed=packed)
    found = read_small_images(f"cifar{classes}", tmp_path, verify=False)
    check_equal(found, written)
    assert found.num_classes == classes
    inside = next(tmp_path.iterdir())
    if not packed:
        # The folder of the files itself will do as well.
        check_equal(read_small_images(f"cifar{classes}", inside, verify=False), written)


def test_the_last_training_images_are_held_out_and_no_test_image_is_there(
    tmp_path: Path, small_image_files: SimpleNamespace
) -> None:
    written = small_image_files.write_mnist(tmp_path, num_train=40)
    found = read_small_images("mnist", tmp_path, verify=False)
    images, labels = written["train"]

    part = found.held_out(15)

    check_equal(
        part,
        {"train": (images[:25], labels[:25]), "test": (images[25:], labels[25:])},
    )
    assert part.fingerprint != found.fingerprint
    for count in (0, 40):
        with pytest.raises(ParameterError, match=rf"from 1 to 39, got {count}"):
            found.held_out(count)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_of_any_order_as_numpy_of_today_writes_them(
    order: str, protocol: int
) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (7, 3072)).astype(np.uint8)
    value = {"data": np.array(rows, order=order), "labels": list(range(7))}
    images, labels = parse_python(
        Path("batch"), pickle.dumps(value, protocol=protocol), CIFAR10
    )
    np.testing.assert_array_equal(images, rows.reshape(7, 3, 32, 32))
    np.testing.assert_array_equal(labels, range(7))


class Evil:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("pwned"),))


ROWS = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Evil(), "would import"),
        ({"data": Evil(), "labels": [0, 1]}, "would import"),
        ([1], "no dict"),
        ({"labels": [0, 1]}, "no array 'data'"),
        ({"data": b"abc", "labels": [0, 1]}, "no array 'data'"),
        ({"data": ROWS[:, :9].copy(), "labels": [0, 1]}, "rows of 3072"),
        ({"data": ROWS}, "no list 'labels'"),
        ({"data": ROWS, "labels": [0]}, "2 labels"),
        ({"data": ROWS, "labels": [0, -1]}, r"number in \[0, 256\)"),
        ({"data": ROWS, "labels": [0, True]}, r"number in \[0, 256\)"),
        ({"data": ROWS, "labels": [0, 10]}, "below 10, got 10"),
        (
            {"data": ROWS.astype(np.float32), "labels": [0, 1]},
            "no array 'data' of rows",
        ),
        ({("a", 1): b"", "data": ROWS}, "a key is no text"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_other_pickles_are_refused_and_never_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: object,
    words: str,
    protocol: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileError, match=words):
        parse_python(Path("batch"), pickle.dumps(value, protocol=protocol), CIFAR10)
    assert not list(tmp_path.iterdir())


def test_a_pickle_that_ends_early(small_image_files: SimpleNamespace) -> None:
    rows, labels = np.zeros((3, 3072), np.uint8), np.arange(3)
    whole = small_image_files.pickle_like_python_2(rows, labels, 10)
    for length in [*range(0, 260), len(whole) - 1]:
        with pytest.raises(FileError, match="batch"):
            parse_python(Path("batch"), whole[:length], CIFAR10)


def test_binary_files_of_another_size_or_set() -> None:
    with pytest.raises(FileError, match="records of 3073 bytes, got 5 bytes"):
        parse_binary(Path("x.bin"), b"12345", CIFAR10)
    with pytest.raises(FileError, match="below 10, got 11"):
        parse_binary(Path("x.bin"), bytes([11]) + bytes(3072), CIFAR10)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no idx file"),
        (b"\0\0\x0d\x01\0\0\0\0", "no idx file of bytes"),
        (b"\0\0\x08\x01\0\0\0\x05abc", "declares 5 bytes, but 3 follow"),
        (b"\0\0\x08\x03\0\0", "0 follow"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x01a", mtime=0)[:-6], "damaged gzip"),
        (b"\x1f\x8bnot gzip", "damaged gzip"),
    ],
)
def test_damaged_idx(content: bytes, words: str) -> None:
    with pytest.raises(FileError, match=words):
        parse_idx(Path("x"), content)


def test_what_is_missing_is_named(
    tmp_path: Path, small_image_files: SimpleNamespace
) -> None:
    with pytest.raises(FileError, match=r"put train-images-idx3-ubyte\.gz, .*there"):
        read_small_images("mnist", tmp_path)
    with pytest.raises(FileError, match=r"cifar-10-python\.tar\.gz or .*unpacked"):
        read_small_images("cifar10", tmp_path)
    small_image_files.write_cifar(tmp_path, 100, "binary", packed=True)
    with pytest.raises(FileError, match="cifar10 is not in"):
        read_small_images("cifar10", tmp_path)
    with pytest.raises(ParameterError, match="got 'svhn'"):
        read_small_images("svhn", tmp_path)


def test_labels_that_do_not_fit_their_images(
    tmp_path: Path, small_image_files: SimpleNamespace
) -> None:
    small_image_files.write_mnist(tmp_path)
    labels = tmp_path / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x02\1\2"))
    with pytest.raises(DataError, match=r"\[50, 28, 28\] and \[2\]"):
        read_small_images("mnist", tmp_path, verify=False)
    labels.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x32" + bytes([77]) * 50))
    with pytest.raises(DataError, match="below 10, got 77"):
        read_small_images("mnist", tmp_path, verify=False)


@pytest.mark.parametrize("packed", [True, False])
def test_sums(
    tmp_path: Path,
    small_image_files: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    packed: bool,
) -> None:
    small_image_files.write_cifar(tmp_path, 100, "python", packed=packed)
    with pytest.raises(FileError, match=r"has the MD5 sum .* pass --unchecked"):
        read_small_images("cifar100", tmp_path)
    form = published.FORMS["cifar100"][0]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            found = hashlib.md5(path.read_bytes()).hexdigest()
            monkeypatch.setitem(form.sums, path.name, found)
    assert read_small_images("cifar100", tmp_path).verified


def test_a_damaged_archive(tmp_path: Path, small_image_files: SimpleNamespace) -> None:
    small_image_files.write_cifar(tmp_path, 10, "binary", packed=True)
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(FileError, match="is damaged or has no"):
        read_small_images("cifar10", tmp_path, verify=False)


@pytest.mark.realdata
def test_mnist_itself(data_folder: Path) -> None:
    found = read_small_images("mnist", data_folder / "mnist")
    assert found.verified
    assert found.train.images.shape == (60_000, 1, 28, 28)
    assert found.test.images.shape == (10_000, 1, 28, 28)
    # The first digits, and how often each occurs: LeCun's page shows and tells.
    assert found.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(found.test.labels).tolist() == counts
