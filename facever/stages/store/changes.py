"""The stages ``facever data merge``, ``subset``, ``split`` and ``compress``."""

from collections.abc import Sequence
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
from facever.progress import progress_bar


def merge(stores: Sequence[Path], out: Path) -> None:
    """Join crop stores that were made with the same settings.

    The crops of the first store come first. If ``out`` is a store already, its own come
    before all others, so this appends to it; a command that was killed can be run again
    and ends with the same bytes, one that was not finds nothing to do.

    Args:
        stores: At least one. Of shards of one alignment, in their order.
        out: A new folder, or a store.

    Raises:
        MismatchError: If the settings differ.
        DataError: If the stores hold different things of one photo (see
            ``join_stores``), or one is damaged.
        FileError: If a store cannot be read or ``out`` not be written; what is there is
            as it was.
    """
    with hold_store(out):
        old = CropStore.open(out) if (out / STORE_FILE).exists() else None
        if old is None:
            check_free(out)
        given = [
            CropStore.open(folder)
            for folder in stores
            if old is None or folder.resolve() != out.resolve()
        ]
        contents = join_stores([old, *given] if old else given)
        if old and old.fingerprint == contents.fingerprint():
            print(f"{out}: nothing new, {len(old):,} crops")
            return
        _copy(out, contents)
    _print_store(out, contents)
    num_given = sum(len(store) for store in ([old, *given] if old else given))
    if num_given > contents.num_crops:
        num_doubles = num_given - contents.num_crops
        print(f"  {num_doubles:,} were given twice, and are there once")


def subset(
    store: Path,
    out: Path,
    *,
    min_photos: int = 1,
    exclude: Path | None = None,
    identities: Path | None = None,
    sample: int | None = None,
    seed: int = 0,
) -> None:
    """Copy chosen crops of a store to a new one, where they are labelled anew.

    What was left out is listed, with the reason, in ``left_out.csv`` of the new store.
    Its ledger is empty: photos without a crop belong to no identity.

    Args:
        store: To choose from.
        out: A new folder.
        min_photos: Only identities with so many crops after the two lists.
        exclude: A file that names identities, photos or sources to leave out.
        identities: A file that names the identities to take.
        sample: Only so many identities, drawn at random last of all.
        seed: Of the draw.

    Raises:
        ParameterError: If a number is out of its range.
        DataError: If nothing is left, or a crop is damaged.
        FileError: If a file cannot be read or written.
    """
    rules = SubsetRules(
        identities=read_list(identities) if identities else None,
        exclude=read_list(exclude) if exclude else (),
        min_photos=min_photos,
        sample=sample,
        seed=seed,
    )
    crops = CropStore.open(store)
    choice = choose_crops(crops, rules)
    contents = Contents(
        [Part(crops, choice.rows)], {}, crops.settings, left_out=choice.left_out
    )
    _write(out, contents)
    print(f"  {len(choice.left_out):,} crops left out: {out / LEFT_OUT_FILE}")
    if choice.unknown:
        print(
            f"  {len(choice.unknown):,} listed names are not in {store}, such as "
            f"{choice.unknown[0]!a}"
        )


def split(store: Path, first: Path, second: Path, share: float, seed: int = 0) -> None:
    """Copy a store to two, so that no identity is in both.

    Args:
        store: Of at least two identities.
        first: A new folder, for a share of the identities drawn at random.
        second: A new folder, for all others.
        share: In (0, 1).
        seed: Of the draw.

    Raises:
        ParameterError: If the share is out of its range, or both folders are one.
        DataError: If there are fewer than two identities, or a crop is damaged.
        FileError: If a folder cannot be read or written.
    """
    if first.resolve() == second.resolve():
        raise ParameterError(f"the two new stores need two folders, got {first} twice")
    crops = CropStore.open(store)
    parts = split_rows(crops, share, seed)
    for out, rows in zip((first, second), parts, strict=True):
        _write(out, Contents([Part(crops, rows)], {}, crops.settings))


def compress(store: Path, out: Path, quality: int = 95) -> None:
    """Copy a store of pixels to one of JPEGs, about a sixth of the size at quality 95.

    Args:
        store: Uncompressed.
        out: A new folder.
        quality: Of JPEG, in [1, 100].

    Raises:
        ParameterError: If the quality is out of its range.
        DataError: If the store is compressed already, or a crop is damaged.
        FileError: If a folder cannot be read or written.
    """
    check_quality(quality)
    crops = CropStore.open(store)
    if JPEG_SETTING in crops.settings:
        raise DataError(
            f"{store} holds JPEGs of quality {crops.settings[JPEG_SETTING]} already: "
            "compress the store of pixels that it was made from"
        )

    def encode(crop: UInt8[np.ndarray, "112 96 3"]) -> bytes:
        return encode_jpeg(crop, quality)

    every = Part(crops, np.arange(len(crops)))
    settings = {**crops.settings, JPEG_SETTING: quality}
    _write(out, Contents([every], crops.failures, settings, encode))


def _write(out: Path, contents: Contents) -> None:
    with progress_bar(f"write {out.name}", contents.num_crops, "crops") as advance:
        is_new = write_new_store(out, contents, advance)
    if is_new:
        _print_store(out, contents)
    else:
        print(f"{out} is there already: nothing to do")


def _copy(out: Path, contents: Contents) -> None:
    with progress_bar(f"write {out.name}", contents.num_crops, "crops") as advance:
        write_store(out, contents, advance)


def _print_store(out: Path, contents: Contents) -> None:
    identities = {name for part in contents.parts for _, name in part.crops()}
    print(
        f"{out}: {contents.num_crops:,} crops of {len(identities):,} identities, "
        f"{len(contents.failures):,} photos without a crop"
    )
