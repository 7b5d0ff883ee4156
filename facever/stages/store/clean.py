"""The stage ``facever data clean``: what looks wrong in a crop store, and without it.

The first run writes lists of suggestions and contact sheets into a folder. A person
edits the lists; ``apply_lists`` then writes a new store as they say. The store itself
is never changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from facever.choices import Backend
from facever.cleaning.centers import find_centers
from facever.cleaning.lists import (
    ABOUT_FILE,
    COLUMNS,
    CleaningPlan,
    Row,
    check_unedited,
    overlap_rows,
    read_cleaning_json,
    read_plan,
    suggestion_rows,
    write_cleaning_json,
    write_list,
)
from facever.cleaning.sheets import EmbeddedStore, Group, overlap_groups, set_groups
from facever.cleaning.suggestions import CleaningRules, find_overlap, inspect_set
from facever.data.store.contact_sheet import draw_groups
from facever.data.store.copying import Contents, Part, write_new_store
from facever.data.store.crop_store import CropStore, photo_of
from facever.data.store.folder import LEFT_OUT_FILE
from facever.data.store.tables import label_identities
from facever.errors import DataError, ParameterError
from facever.files import check_folder_place, check_outside, whole_file
from facever.hardware import pick_device
from facever.inference.embedder import Embedder
from facever.inference.embeddings_file import check_array, read_embeddings
from facever.inference.model_file import load_model
from facever.progress import progress_bar
from facever.results import Result
from facever.stages.evaluation.features import embed_rows

_SHEET_ROWS = 48


@dataclass(frozen=True)
class CleaningLists(Result):
    """Lists of suggestions, which a person edits before they are applied.

    Attributes:
        out: The folder of the lists and their contact sheets.
        suggestions: Number of suggestions in each list, by its file name.
    """

    out: Path
    suggestions: dict[str, int]

    def lines(self) -> list[str]:
        """Each list and its length."""
        return [
            f"{self.out / name}: {count:,} suggestions"
            for name, count in self.suggestions.items()
        ]


@dataclass(frozen=True)
class CleanedStore(Result):
    """A crop store that lists were applied to.

    Attributes:
        out: The folder of the new store.
        num_crops: Number of crops in it.
        num_removed: Number of crops of the old store that are not in it.
        num_merged: Number of identities whose photos went to another identity.
    """

    out: Path
    num_crops: int
    num_removed: int
    num_merged: int

    def lines(self) -> list[str]:
        """What was removed and merged, and where the reasons stand."""
        return [
            f"{self.out}: {self.num_crops:,} crops; {self.num_removed:,} removed, each "
            f"with its reason in {self.out / LEFT_OUT_FILE}; {self.num_merged:,} "
            "identities merged"
        ]


def clean_store(
    store: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    embeddings: str | Path | None = None,
    test: str | Path | None = None,
    test_embeddings: str | Path | None = None,
    rules: CleaningRules | None = None,
    device: str = "auto",
    array: str | None = None,
    backend: Backend = "auto",
) -> CleaningLists:
    """Write lists of what looks wrong in a store, with contact sheets.

    Args:
        store: A crop store.
        out: Folder of the lists; lists of an earlier run are replaced, unless somebody
            has edited them.
        model: The model file that embeds the crops.
        embeddings: An ``.npz`` from ``facever embed``, in place of a model.
        test: Crop store of a test set, whose people should not be in this one.
        test_embeddings: The embeddings of the test set, in place of a model.
        rules: The cosines from which on something is suggested.
        device: Where the network runs: ``auto``, ``cpu``, ``cuda`` and so on.
        array: What the ``.npz`` files call their arrays, see ``read_embeddings``.
        backend: What computes the network; see ``Embedder``.

    Raises:
        ParameterError: If not exactly one of model and embeddings is given, or the
            test's embeddings without a test, or ``out`` is inside the store.
        DataError: If ``out`` has lists that were edited.
        FaceverError: If a file is missing or does not fit.
    """
    if (model is None) == (embeddings is None):
        raise ParameterError("give either a model or embeddings")
    if test is not None and embeddings is not None and test_embeddings is None:
        raise ParameterError("give the embeddings of the test set, too")
    if test_embeddings is not None and (test is None or model is not None):
        raise ParameterError(
            "embeddings of a test set go with the test set and with embeddings"
        )
    check_array(array, embeddings is not None)
    out = Path(out)
    check_outside(out, Path(store), "OUT", "STORE")
    check_folder_place(out)
    check_unedited(out)
    rules = rules or CleaningRules()
    embedder = Embedder(load_model(model), device, backend=backend) if model else None
    ours = _embedded(CropStore.open(store), embedder, embeddings, array)
    theirs = (
        _embedded(CropStore.open(test), embedder, test_embeddings, array)
        if test
        else None
    )
    place = pick_device(device)
    units = 2 * len(ours.store) * (2 if theirs else 1)
    with progress_bar("compare", units, "photos") as advance:
        found = inspect_set(ours.centers, rules, place, advance)
        overlap = (
            find_overlap(ours.centers, theirs.centers, rules, place, advance)
            if theirs
            else None
        )
    rows = suggestion_rows(ours.store, found)
    groups = set_groups(ours, found)
    if theirs and overlap:
        rows |= overlap_rows(ours.store, theirs.store, overlap)
        groups |= overlap_groups(ours, theirs, overlap)
    about = {
        "store": ours.store.fingerprint,
        "test": theirs.store.fingerprint if theirs else None,
        "model_fingerprint": embedder.model_fingerprint if embedder else None,
        "duplicate_above": rules.duplicate,
        "outlier_far": rules.outlier_far,
        "outlier_up_to": found.outlier_threshold,
        "alike_far": rules.alike_far,
        "alike_above": found.alike_threshold,
        "suggestions": {name: len(rows[name]) for name in rows},
    }
    _write(out, rows, groups, about)
    return CleaningLists(
        out, {name: len(rows[name]) for name in COLUMNS if name in rows}
    )


def apply_lists(store: str | Path, folder: str | Path, out: str | Path) -> CleanedStore:
    """Write a new store as the lists of a folder say.

    Args:
        store: The store that the lists were made of.
        folder: The folder of the lists.
        out: A new folder; its ``left_out.csv`` names what was removed, and why.

    Raises:
        ParameterError: If ``out`` is inside the store.
        FileError: If a file is missing or cannot be written.
        DataError: If the lists are of another store or name what it does not hold, or
            nothing would be left.
    """
    folder, out = Path(folder), Path(out)
    check_outside(out, Path(store), "--apply", "STORE")
    check_folder_place(out)
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
    with progress_bar(f"write {out.name}", len(kept), "crops") as advance:
        write_new_store(out, contents, advance)
    return CleanedStore(out, len(kept), len(left_out), len(plan.merged))


def _embedded(
    store: CropStore,
    embedder: Embedder | None,
    path: str | Path | None,
    array: str | None,
) -> EmbeddedStore:
    if embedder:
        vectors = embed_rows(embedder, store, range(len(store)))
    else:
        assert path
        file = read_embeddings(path, array)
        row_of = {image: row for row, image in enumerate(file.images)}
        missing = [source for source in store.sources if source not in row_of]
        if missing:
            raise DataError(
                f"{path} has no embedding of {len(missing):,} crops of {store.folder}, "
                f"such as {missing[0]}: make it with facever embed"
            )
        vectors = file.embeddings[[row_of[source] for source in store.sources]]
    return EmbeddedStore(store, find_centers(vectors, store.labels))


def _write(
    out: Path,
    rows: dict[str, list[Row]],
    groups: dict[str, Iterator[Group]],
    about: Mapping[str, object],
) -> None:
    # Lists without it are of a run that was stopped, and not edited.
    (out / ABOUT_FILE).unlink(missing_ok=True)
    for name in COLUMNS:
        sheet = out / Path(name).with_suffix(".png").name
        if name not in rows:
            # They are left from an earlier run beside a test set.
            (out / name).unlink(missing_ok=True)
            sheet.unlink(missing_ok=True)
            continue
        write_list(out / name, rows[name])
        shown = list(islice(groups[name], _SHEET_ROWS))
        if shown:
            with whole_file(sheet) as temporary:
                Image.fromarray(draw_groups(shown)).save(temporary, format="PNG")
        else:
            sheet.unlink(missing_ok=True)
    write_cleaning_json(out, about)


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
