"""The stages ``facever data merge``, ``subset``, ``split`` and ``compress``."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from facever.data.store.copying import Contents, Part, write_new_store, write_store
from facever.data.store.crop_store import JPEG_SETTING, CropStore
from facever.data.store.folder import LEFT_OUT_FILE, STORE_FILE, check_free, hold_store
from facever.data.store.jpeg import check_quality, encode_jpeg
from facever.data.store.merging import join_stores
from facever.data.store.subsets import SubsetRules, choose_crops, read_list, split_rows
from facever.errors import DataError, ParameterError
from facever.files import check_folder_place, check_outside
from facever.progress import Advance, progress_bar
from facever.results import Result


@dataclass(frozen=True)
class WrittenStore(Result):
    """A crop store that a command wrote.

    Attributes:
        out: The store's folder.
        num_crops: Number of crops in it.
        num_identities: Number of identities with at least one crop.
        num_failures: Number of photos in its ledger.
        is_new: Whether it was written; False where it was there already, the same.
    """

    out: Path
    num_crops: int
    num_identities: int
    num_failures: int
    is_new: bool

    def lines(self) -> list[str]:
        """What the store holds, or that there was nothing to do."""
        if not self.is_new:
            return [f"{self.out}: nothing new, {self.num_crops:,} crops are there"]
        return [
            f"{self.out}: {self.num_crops:,} crops of {self.num_identities:,} "
            f"identities, {self.num_failures:,} photos without a crop"
        ]


@dataclass(frozen=True)
class MergedStore(WrittenStore):
    """A crop store that holds what several hold together.

    Attributes:
        num_doubles: Number of crops that were given again and are there once.
    """

    num_doubles: int

    def lines(self) -> list[str]:
        """What the store holds, and how many crops were given twice."""
        lines = super().lines()
        if self.is_new and self.num_doubles:
            lines.append(f"  {self.num_doubles:,} were given twice, and are there once")
        return lines


@dataclass(frozen=True)
class SubsetStore(WrittenStore):
    """A crop store that holds chosen crops of another.

    Attributes:
        num_left_out: Number of crops of the other store that it does not hold.
        unknown: Names in the lists that nothing in the other store has.
    """

    num_left_out: int
    unknown: list[str]

    def lines(self) -> list[str]:
        """What the store holds, what was left out, and names that fit nothing."""
        left_out = self.out / LEFT_OUT_FILE
        lines = [
            *super().lines(),
            f"  {self.num_left_out:,} crops left out: {left_out}",
        ]
        if self.unknown:
            lines.append(
                f"  {len(self.unknown):,} listed names fit nothing in the store, such "
                f"as {self.unknown[0]!a}"
            )
        return lines


@dataclass(frozen=True)
class SplitStores(Result):
    """Two crop stores that share no identity.

    Attributes:
        first: The store of the share that was asked for.
        second: The store of all other identities.
    """

    first: WrittenStore
    second: WrittenStore

    def lines(self) -> list[str]:
        """What each store holds."""
        return [*self.first.lines(), *self.second.lines()]


def merge_stores(stores: Sequence[str | Path], out: str | Path) -> MergedStore:
    """Join crop stores that were made with the same settings.

    The crops of the first store come first. If ``out`` is a store already, its own come
    before all others, so this appends to it; a command that was killed can be run again
    and ends with the same bytes, and one that was not finds nothing to do.

    Args:
        stores: At least one; shards of one alignment in their order.
        out: A new folder, or a store.

    Raises:
        ParameterError: If ``out`` is inside a store.
        MismatchError: If the settings differ.
        DataError: If the stores hold different things of one photo (see
            ``join_stores``), or one is damaged.
        FileError: If a store cannot be read or ``out`` cannot be written; what is there
            is as it was.
    """
    out = Path(out)
    for store in map(Path, stores):
        if store.resolve() != out.resolve():
            check_outside(out, store, "--out", "STORES")
    with hold_store(out):
        old = CropStore.open(out) if (out / STORE_FILE).exists() else None
        if old is None:
            check_free(out)
        given = [
            CropStore.open(folder)
            for folder in map(Path, stores)
            if old is None or folder.resolve() != out.resolve()
        ]
        parts = [old, *given] if old else given
        contents = join_stores(parts)
        is_new = old is None or old.fingerprint != contents.fingerprint()
        if is_new:
            with _progress(out, contents) as advance:
                write_store(out, contents, advance)
    num_doubles = sum(len(store) for store in parts) - contents.num_crops
    written = _describe(out, contents, is_new)
    return MergedStore(**asdict(written), num_doubles=num_doubles)


def subset_store(
    store: str | Path,
    out: str | Path,
    *,
    identities: str | Path | None = None,
    exclude: str | Path | None = None,
    min_photos: int = 1,
    sample: int | None = None,
    seed: int = 0,
) -> SubsetStore:
    """Copy chosen crops of a store to a new one, where they get new labels.

    What was left out is listed, with the reason, in ``left_out.csv`` of the new store.
    Its ledger is empty: photos without a crop belong to no identity.

    Args:
        store: The store to choose from.
        out: A new folder.
        identities: A file that names the identities to take.
        exclude: A file that names identities, photos or sources to leave out.
        min_photos: An identity needs this many crops after the two lists.
        sample: Number of identities that are drawn, at random, from those left by all
            this; None takes them all.
        seed: Seed of that draw.

    Raises:
        ParameterError: If a number is out of its range, or ``out`` is inside the store.
        DataError: If nothing is left, or a crop is damaged.
        FileError: If a file cannot be read or written.
    """
    out = Path(out)
    check_outside(out, Path(store), "OUT", "STORE")
    check_folder_place(out)
    rules = SubsetRules(
        identities=read_list(Path(identities)) if identities else None,
        exclude=read_list(Path(exclude)) if exclude else (),
        min_photos=min_photos,
        sample=sample,
        seed=seed,
    )
    crops = CropStore.open(store)
    choice = choose_crops(crops, rules)
    contents = Contents(
        [Part(crops, choice.rows)], {}, crops.settings, left_out=choice.left_out
    )
    return SubsetStore(
        **asdict(_write(out, contents)),
        num_left_out=len(choice.left_out),
        unknown=choice.unknown,
    )


def split_store(
    store: str | Path,
    first: str | Path,
    second: str | Path,
    *,
    share: float = 0.9,
    seed: int = 0,
) -> SplitStores:
    """Copy a store to two, so that no identity is in both.

    Args:
        store: A store of at least two identities.
        first: A new folder, for a share of the identities drawn at random.
        second: A new folder, for all others.
        share: The share of the identities that goes to ``first``, in (0, 1).
        seed: Seed of the draw.

    Raises:
        ParameterError: If the share is out of its range, both folders are one, or one
            is inside the store.
        DataError: If there are fewer than two identities, or a crop is damaged.
        FileError: If a folder cannot be read or written.
    """
    first, second = Path(first), Path(second)
    if first.resolve() == second.resolve():
        raise ParameterError(f"the two new stores need two folders, got {first} twice")
    for out, name in ((first, "FIRST"), (second, "SECOND")):
        check_outside(out, Path(store), name, "STORE")
        check_folder_place(out)
    crops = CropStore.open(store)
    return SplitStores(
        *(
            _write(out, Contents([Part(crops, rows)], {}, crops.settings))
            for out, rows in zip(
                (first, second), split_rows(crops, share, seed), strict=True
            )
        )
    )


def compress_store(
    store: str | Path, out: str | Path, *, quality: int = 95
) -> WrittenStore:
    """Copy a store of pixels to one of JPEGs, about a sixth of the size at quality 95.

    Args:
        store: A store of pixels.
        out: A new folder.
        quality: The JPEG quality, in [1, 100].

    Raises:
        ParameterError: If the quality is out of its range, or ``out`` is inside the
            store.
        DataError: If the store is compressed already, or a crop is damaged.
        FileError: If a folder cannot be read or written.
    """
    out = Path(out)
    check_quality(quality)
    check_outside(out, Path(store), "OUT", "STORE")
    check_folder_place(out)
    crops = CropStore.open(store)
    if JPEG_SETTING in crops.settings:
        raise DataError(
            f"{store} holds JPEGs of quality {crops.settings[JPEG_SETTING]} already: "
            "compress the store of pixels that it was made from"
        )

    def encode(crop: UInt8[np.ndarray, "high wide 3"]) -> bytes:
        return encode_jpeg(crop, quality)

    every = Part(crops, np.arange(len(crops)))
    settings = {**crops.settings, JPEG_SETTING: quality}
    return _write(out, Contents([every], crops.failures, settings, encode))


def _write(out: Path, contents: Contents) -> WrittenStore:
    with _progress(out, contents) as advance:
        is_new = write_new_store(out, contents, advance)
    return _describe(out, contents, is_new)


def _progress(out: Path, contents: Contents) -> AbstractContextManager[Advance]:
    return progress_bar(f"write {out.name}", contents.num_crops, "crops")


def _describe(out: Path, contents: Contents, is_new: bool) -> WrittenStore:
    identities = {name for part in contents.parts for _, name in part.crops()}
    return WrittenStore(
        out=out,
        num_crops=contents.num_crops,
        num_identities=len(identities),
        num_failures=len(contents.failures),
        is_new=is_new,
    )
