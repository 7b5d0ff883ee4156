"""The stage ``facever data clean``: what looks wrong in a crop store, and away with it.

The first run writes lists of suggestions and contact sheets into a folder. A person
edits the lists; a run with ``apply`` then writes a new store without what they say. The
store itself is never changed.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from facever.cleaning.alike import AlikePairs
from facever.cleaning.centers import IdentityCenters, find_centers
from facever.cleaning.lists import (
    COLUMNS,
    DUPLICATES,
    LOOKALIKES,
    OUTLIERS,
    OVERLAP,
    OVERLAP_PHOTOS,
    CleaningPlan,
    Row,
    overlap_rows,
    read_plan,
    suggestion_rows,
    write_list,
)
from facever.cleaning.suggestions import (
    CleaningRules,
    Overlap,
    Suggestions,
    find_overlap,
    inspect_set,
)
from facever.data.contact_sheet import draw_groups
from facever.data.crops import CropStore, photo_of
from facever.data.records import label_identities
from facever.data.store_copy import Contents, Part, write_new_store
from facever.data.store_folder import LEFT_OUT_FILE
from facever.errors import DataError, ParameterError
from facever.files import whole_file
from facever.inference.embedder import Embedder
from facever.inference.model_file import load_model
from facever.models.hardware import pick_device
from facever.progress import progress_bar
from facever.stages.features import embed_rows
from facever.verification.embeddings_file import read_embeddings

ABOUT_FILE = "cleaning.json"
_SHEET_ROWS = 48
Group = list[tuple[UInt8[np.ndarray, "112 96 3"], str]]


@dataclass(frozen=True)
class EmbeddedStore:
    """A crop store with its embeddings, and the centers of its identities."""

    store: CropStore
    centers: IdentityCenters

    def picture(self, row: int, cosine: float | None = None) -> Group:
        """The crop of a row, with its identity under it."""
        score = "" if cosine is None else f"{cosine:.2f} "
        crop = np.asarray(self.store.crops[row])
        return [(crop, score + self.store.identity_of(row))]

    def typical(self, identity: int, cosine: float | None = None) -> Group:
        """The photo nearest to the center of an identity."""
        return self.picture(self.centers.typical(identity), cosine)


def clean(
    store: Path,
    out: Path,
    *,
    model: Path | None = None,
    embeddings: Path | None = None,
    test: Path | None = None,
    test_embeddings: Path | None = None,
    rules: CleaningRules | None = None,
    device: str = "auto",
) -> None:
    """Write lists of what looks wrong in a store, with contact sheets.

    Args:
        store: A crop store.
        out: Folder of the lists; lists of an earlier run are written anew.
        model: Embeds the crops.
        embeddings: In place of a model, an ``.npz`` from ``facever embed``.
        test: Crop store of a test set, whose people should not be in this one.
        test_embeddings: Its embeddings, where a model is not given.
        rules: Where suggestions begin.
        device: ``auto``, ``cpu``, ``cuda``...

    Raises:
        ParameterError: If not exactly one of model and embeddings is given, or the
            test's embeddings without a test.
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
    rules = rules or CleaningRules()
    embedder = Embedder(load_model(model), device) if model else None
    ours = _embedded(CropStore.open(store), embedder, embeddings)
    theirs = (
        _embedded(CropStore.open(test), embedder, test_embeddings) if test else None
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
    groups = _set_groups(ours, found)
    if theirs and overlap:
        rows |= overlap_rows(ours.store, theirs.store, overlap)
        groups |= _overlap_groups(ours, theirs, overlap)
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


def apply(store: Path, folder: Path, new_store: Path) -> None:
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
    about = folder / ABOUT_FILE
    plan = read_plan(folder)
    if json.loads(about.read_text("utf-8"))["store"] != crops.fingerprint:
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


def _embedded(
    store: CropStore, embedder: Embedder | None, path: Path | None
) -> EmbeddedStore:
    if embedder:
        vectors = embed_rows(embedder, store, range(len(store)))
    else:
        assert path
        file = read_embeddings(path)
        row_of = {image: row for row, image in enumerate(file.images)}
        missing = [source for source in store.sources if source not in row_of]
        if missing:
            raise DataError(
                f"{path} has no embedding of {len(missing):,} crops of {store.folder}, "
                f"such as {missing[0]}: make it with facever embed"
            )
        vectors = file.embeddings[[row_of[source] for source in store.sources]]
    return EmbeddedStore(store, find_centers(vectors, store.labels))


def _set_groups(ours: EmbeddedStore, found: Suggestions) -> dict[str, Iterator[Group]]:
    worst = found.outliers
    return {
        DUPLICATES: _pair_groups(found.duplicates, ours.picture, ours.picture),
        OUTLIERS: (
            ours.picture(row, own)
            + ours.picture(_typical_other(ours.centers, row))
            + ours.typical(nearest)
            for row, own, nearest in zip(
                worst.rows.tolist(),
                worst.own_cosine.tolist(),
                worst.nearest.tolist(),
                strict=True,
            )
        ),
        LOOKALIKES: _pair_groups(found.lookalikes, ours.typical, ours.typical),
    }


def _overlap_groups(
    ours: EmbeddedStore, theirs: EmbeddedStore, found: Overlap
) -> dict[str, Iterator[Group]]:
    return {
        OVERLAP: _pair_groups(found.identities, ours.typical, theirs.typical),
        OVERLAP_PHOTOS: _pair_groups(found.duplicates, ours.picture, theirs.picture),
    }


def _pair_groups(
    pairs: AlikePairs, left_of: Callable[..., Group], right_of: Callable[..., Group]
) -> Iterator[Group]:
    for left, right, cosine in pairs.triples():
        yield left_of(left, cosine) + right_of(right)


def _typical_other(found: IdentityCenters, row: int) -> int:
    """The most typical photo of a photo's identity, but not that photo."""
    rows = np.flatnonzero(found.labels == found.labels[row])
    rows = rows[rows != row]
    center = found.centers[found.labels[row]]
    return int(rows[(found.units[rows] @ center).argmax()])


def _write(
    out: Path,
    rows: dict[str, list[Row]],
    groups: dict[str, Iterator[Group]],
    about: Mapping[str, object],
) -> None:
    for name in COLUMNS:
        sheet = out / Path(name).with_suffix(".png").name
        if name not in rows:
            # Of an earlier run beside a test set.
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
        print(f"{out / name}: {len(rows[name]):,} suggestions")
    with whole_file(out / ABOUT_FILE) as temporary:
        temporary.write_text(json.dumps(about, indent=2) + "\n", "utf-8")


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
