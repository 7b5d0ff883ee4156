"""MNIST, FashionMNIST, CIFAR-10 and CIFAR-100 from a folder that the user names."""

import hashlib
import io
import tarfile
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Int64, UInt8

from facever.choices import SmallImageSetName
from facever.errors import DataError, FileError, ParameterError
from facever.small_images.formats import (
    CIFAR10,
    CIFAR100,
    parse_binary,
    parse_idx,
    parse_python,
)
from facever.small_images.published import FoundFiles, PublishedForm, find_files

_CIFAR = {"cifar10": CIFAR10, "cifar100": CIFAR100}


@dataclass(frozen=True)
class SmallImages:
    """Images of one size with their classes.

    Attributes:
        images: The images, channels first.
        labels: The class of each image, from 0.
    """

    images: UInt8[np.ndarray, "images channels height width"]
    labels: Int64[np.ndarray, " images"]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class SmallImageSet:
    """A published set, in memory.

    Attributes:
        name: Name of the set, one of four.
        num_classes: Number of classes, 10 or 100.
        train: The images to train on.
        test: The images to test on.
        verified: Whether every file had its published MD5 sum. False where the check
            was not asked for, or where no sum is published: for idx files without
            gzip, and for CIFAR's binary files outside of their archive.
    """

    name: str
    num_classes: int
    train: SmallImages
    test: SmallImages
    verified: bool

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of images and labels, whatever form they were read from."""
        digest = hashlib.sha256()
        for part in (self.train, self.test):
            digest.update(repr(part.images.shape).encode())
            digest.update(np.ascontiguousarray(part.images).tobytes())
            digest.update(part.labels.tobytes())
        return digest.hexdigest()

    def held_out(self, count: int) -> "SmallImageSet":
        """The last training images as the test set: to choose without the real one.

        Args:
            count: Number of images, at least 1 and fewer than there are.

        Raises:
            ParameterError: If there are fewer images.
        """
        rest = len(self.train) - count
        if count < 1 or rest < 1:
            raise ParameterError(
                f"hold-out must be from 1 to {len(self.train) - 1}, got {count}"
            )
        images, labels = self.train.images, self.train.labels
        return replace(
            self,
            train=SmallImages(images[:rest], labels[:rest]),
            test=SmallImages(images[rest:], labels[rest:]),
        )


def read_small_images(name: str, folder: Path, *, verify: bool = True) -> SmallImageSet:
    """Read a set in any of the forms that it is published in.

    Args:
        name: The name of the set: mnist, fashion-mnist, cifar10 or cifar100.
        folder: Holds the files, the folder that an archive unpacks to, or the archive.
        verify: Refuse a file whose MD5 sum is not the published one.

    Returns:
        The set.

    Raises:
        ParameterError: If there is no such set.
        FileError: If files are missing, damaged or not those that were published; the
            message says which files to put where.
        DataError: If images and labels do not fit each other.
    """
    if name not in get_args(SmallImageSetName):
        raise ParameterError(
            f"the set must be {', '.join(get_args(SmallImageSetName))}, got {name!r}"
        )
    found = find_files(name, folder)
    contents, verified = _contents(found, verify)
    train, test = (
        _parse(name, found.form, {file: contents[file] for file in files}, found.place)
        for files in (found.form.train, found.form.test)
    )
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"{found.place}: training images are {list(train.images.shape[1:])}, test "
            f"images {list(test.images.shape[1:])}"
        )
    num_classes = _CIFAR[name].num_classes if name in _CIFAR else 10
    return SmallImageSet(name, num_classes, train, test, verified)


def _contents(found: FoundFiles, verify: bool) -> tuple[dict[str, bytes], bool]:
    """The files by name, and whether all of them had their published sums."""
    form = found.form
    if found.packed:
        archive = _read(found.place)
        verified = verify and _is_published(found.place, archive, form)
        return _unpack(found.place, archive, form), verified
    contents = {file: _read(found.place / file) for file in form.files}
    verified = verify and all(
        [_is_published(found.place / file, contents[file], form) for file in contents]
    )
    return contents, verified


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from None


def _is_published(path: Path, content: bytes, form: PublishedForm) -> bool:
    """Whether a sum is published; one that differs is refused."""
    wanted = form.sums.get(path.name)
    if wanted is None:
        return False
    got = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if got != wanted:
        raise FileError(
            f"{path} has the MD5 sum {got}, the published file {wanted}; fetch it "
            "again, or pass --unchecked to take it as it is"
        )
    return True


def _unpack(path: Path, archive: bytes, form: PublishedForm) -> dict[str, bytes]:
    contents = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as packed:
            for file in form.files:
                member = packed.extractfile(f"{form.folder}/{file}")
                if member is None:
                    raise KeyError(file)
                contents[file] = member.read()
    except (KeyError, tarfile.TarError, OSError, EOFError, zlib.error):
        raise FileError(
            f"{path} is damaged or has no {form.folder}/{form.files[0]} and its "
            "siblings; fetch it again"
        ) from None
    return contents


def _parse(
    name: str, form: PublishedForm, contents: dict[str, bytes], place: Path
) -> SmallImages:
    if form.kind == "idx":
        images, labels = (
            parse_idx(place / file, content) for file, content in contents.items()
        )
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise DataError(
                f"{place}: {' and '.join(contents)} must hold images and a label of "
                f"each, got {list(images.shape)} and {list(labels.shape)}"
            )
        if labels.max(initial=0) >= 10:
            raise DataError(f"{place}: labels must be below 10, got {labels.max()}")
        return SmallImages(images[:, None], labels.astype(np.int64))
    parse = parse_python if form.kind == "python" else parse_binary
    parts = [
        parse(place / file, content, _CIFAR[name]) for file, content in contents.items()
    ]
    return SmallImages(
        np.concatenate([images for images, _ in parts]),
        np.concatenate([labels for _, labels in parts]),
    )
