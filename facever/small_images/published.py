"""The files of the four sets of small images as published, and how to find them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from facever.errors import FileError

FileKind = Literal["idx", "python", "binary"]


@dataclass(frozen=True)
class PublishedForm:
    """One form in which a set is published.

    Attributes:
        kind: Kind of the files, which decides how they are parsed.
        train: Names of the files to train on; for idx, images and labels.
        test: Names of the files to test on.
        sums: Published MD5 sums, by file name.
        folder: What the archive unpacks to.
        archive: Name of the archive; empty where the files are published one by one.
    """

    kind: FileKind
    train: tuple[str, ...]
    test: tuple[str, ...]
    sums: dict[str, str] = field(default_factory=dict)
    folder: str = ""
    archive: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """All names."""
        return self.train + self.test


@dataclass(frozen=True)
class FoundFiles:
    """A form that is there.

    Attributes:
        form: The form that was found.
        place: The folder of the files, or the archive.
        packed: Whether the place is the archive.
    """

    form: PublishedForm
    place: Path
    packed: bool


def _idx(sums: tuple[str, str, str, str]) -> tuple[PublishedForm, PublishedForm]:
    names = [
        f"{part}-{what}-ubyte"
        for part in ("train", "t10k")
        for what in ("images-idx3", "labels-idx1")
    ]
    packed = tuple(f"{name}.gz" for name in names)
    published = dict(zip(packed, sums, strict=True))
    return (
        PublishedForm("idx", packed[:2], packed[2:], published),
        PublishedForm("idx", tuple(names[:2]), tuple(names[2:])),
    )


# Sums: the sets' own pages; FashionMNIST's README; torchvision keeps the same.
FORMS: dict[str, tuple[PublishedForm, ...]] = {
    "mnist": _idx(
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        )
    ),
    "fashion-mnist": _idx(
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        )
    ),
    "cifar10": (
        PublishedForm(
            "python",
            tuple(f"data_batch_{number}" for number in range(1, 6)),
            ("test_batch",),
            {
                "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
                "data_batch_1": "c99cafc152244af753f735de768cd75f",
                "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
                "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
                "data_batch_4": "634d18415352ddfa80567beed471001a",
                "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
                "test_batch": "40351d587109b95175f43aff81a1287e",
            },
            folder="cifar-10-batches-py",
            archive="cifar-10-python.tar.gz",
        ),
        PublishedForm(
            "binary",
            tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
            ("test_batch.bin",),
            {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
            folder="cifar-10-batches-bin",
            archive="cifar-10-binary.tar.gz",
        ),
    ),
    "cifar100": (
        PublishedForm(
            "python",
            ("train",),
            ("test",),
            {
                "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
                "train": "16019d7e3df5f24257cddd939b257f8d",
                "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
            },
            folder="cifar-100-python",
            archive="cifar-100-python.tar.gz",
        ),
        PublishedForm(
            "binary",
            ("train.bin",),
            ("test.bin",),
            {"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"},
            folder="cifar-100-binary",
            archive="cifar-100-binary.tar.gz",
        ),
    ),
}


def find_files(name: str, folder: Path) -> FoundFiles:
    """The first form of a set that is whole in a folder.

    Args:
        name: The name of the set.
        folder: Holds the files, the folder that an archive unpacks to, or the archive.

    Returns:
        What was found; unpacked files come before an archive.

    Raises:
        FileError: If no form is whole; the message says which files to put there.
    """
    forms = FORMS[name]
    for form in forms:
        for place in (folder, folder / form.folder):
            if all((place / file).is_file() for file in form.files):
                return FoundFiles(form, place, packed=False)
    for form in forms:
        if form.archive and (folder / form.archive).is_file():
            return FoundFiles(form, folder / form.archive, packed=True)
    first = forms[0]
    wanted = (
        f"{' or '.join(form.archive for form in forms)}, packed or unpacked,"
        if first.archive
        else f"{', '.join(first.files)}, or the same without .gz,"
    )
    raise FileError(f"{name} is not in {folder}: put {wanted} there")
