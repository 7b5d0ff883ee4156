"""The stage ``facever data clean``: what looks wrong in a crop store, and away with it.

The first run writes lists of suggestions and contact sheets into a folder. A person
edits the lists; ``clean_apply`` then writes a new store without what they say. The
store itself is never changed.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from PIL import Image

from facever.cleaning.centers import find_centers
from facever.cleaning.lists import (
    ABOUT_FILE,
    COLUMNS,
    Row,
    check_unedited,
    overlap_rows,
    suggestion_rows,
    write_cleaning_json,
    write_list,
)
from facever.cleaning.suggestions import CleaningRules, find_overlap, inspect_set
from facever.data.store.contact_sheet import draw_groups
from facever.data.store.crop_store import CropStore
from facever.errors import DataError, ParameterError
from facever.files import whole_file
from facever.hardware import pick_device
from facever.inference.embedder import Embedder
from facever.inference.embeddings_file import read_embeddings
from facever.inference.model_file import load_model
from facever.progress import progress_bar
from facever.stages.evaluation.features import embed_rows
from facever.stages.store.clean_sheets import (
    EmbeddedStore,
    Group,
    overlap_groups,
    set_groups,
)

_SHEET_ROWS = 48


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
        out: Folder of the lists; lists of an earlier run are written anew, unless
            somebody has edited them.
        model: Embeds the crops.
        embeddings: In place of a model, an ``.npz`` from ``facever embed``.
        test: Crop store of a test set, whose people should not be in this one.
        test_embeddings: Its embeddings, where a model is not given.
        rules: Where suggestions begin.
        device: ``auto``, ``cpu``, ``cuda``...

    Raises:
        ParameterError: If not exactly one of model and embeddings is given, or the
            test's embeddings without a test.
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
    check_unedited(out)
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
    write_cleaning_json(out, about)
