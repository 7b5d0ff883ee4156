"""``facever data clean --apply``: a new store, as the edited lists say."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from facever.cleaning.lists import CleaningPlan, read_cleaning_json, read_plan
from facever.data.store.copying import Contents, Part, write_new_store
from facever.data.store.crop_store import CropStore, photo_of
from facever.data.store.folder import LEFT_OUT_FILE
from facever.data.store.tables import label_identities
from facever.errors import DataError
from facever.progress import progress_bar


def apply_lists(store: Path, folder: Path, new_store: Path) -> None:
    """Write a new store as the lists of a folder say.

    Args:
        store: That the lists were made of.
        folder: Of the lists.
        new_store: A new folder; its ``left_out.csv`` names what was removed, and why.

    Raises:
        FileError: If a file is missing or cannot be written.
        DataError: If the lists are of another store or name what it does not hold, or
            nothing would be left.
    """
    crops = CropStore.open(store)
    plan = read_plan(folder)
    if read_cleaning_json(folder)["store"] != crops.fingerprint:
        raise DataError(
            f"{folder} has the lists of another crop store: run facever data clean "
            f"{store} {folder} again"
        )
    _check_names(folder, plan, crops)
    reasons = [
        plan.identities.get(crops.identity_of(row))
        or plan.photos.get(source)
        or plan.photos.get(photo_of(source))
        for row, source in enumerate(crops.sources)
    ]
    kept = np.array([row for row, reason in enumerate(reasons) if reason is None])
    if not len(kept):
        raise DataError(f"{folder} removes every crop of {store}")
    left_out = [
        (row, crops.identity_of(row), crops.sources[row], reason)
        for row, reason in enumerate(reasons)
        if reason is not None
    ]
    names = [
        plan.merged.get(crops.identity_of(row), crops.identity_of(row))
        for row in range(len(crops))
    ]
    identities, labels = label_identities(names)
    renamed = replace(crops, identities=identities, labels=labels)
    contents = Contents([Part(renamed, kept)], {}, crops.settings, left_out=left_out)
    with progress_bar(f"write {new_store.name}", len(kept), "crops") as advance:
        write_new_store(new_store, contents, advance)
    print(
        f"{new_store}: {len(kept):,} crops; {len(left_out):,} removed, each with its "
        f"reason in {new_store / LEFT_OUT_FILE}; {len(plan.merged):,} identities merged"
    )


def _check_names(folder: Path, plan: CleaningPlan, store: CropStore) -> None:
    sources = {*store.sources, *map(photo_of, store.sources)}
    identities = set(store.identities)
    named: Sequence[str] = [
        *(source for source in plan.photos if source not in sources),
        *(name for name in plan.identities if name not in identities),
        *(
            name
            for pair in plan.merged.items()
            for name in pair
            if name not in identities
        ),
    ]
    if named:
        raise DataError(
            f"{folder} names {named[0]!r}, which is not in {store.folder}: set its "
            "line to keep"
        )
