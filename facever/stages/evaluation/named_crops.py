"""The crops of the photos that a protocol names, new ones or those of an earlier run.

Beside a crop store ``crops`` lies ``crops-photos.csv``: the size and the time of each
photo's file when it was aligned. By these an evaluation knows that crops, in its own
folder or in that of another report beside it, are still those of the photos.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from facever.choices import DEFAULT_MAX_PIXELS, FaceRule
from facever.csv_tables import read_csv, write_csv
from facever.data.sources.any_source import find_photos
from facever.data.store.crop_store import CropStore, photo_of
from facever.errors import DataError, FaceverError, FileError
from facever.faces.aligner import AlignRecipe
from facever.faces.photo_source import PhotoSource
from facever.faces.templates import Template
from facever.files import whole_file
from facever.stages.align import align, store_settings
from facever.verification.photo_matching import match_photos

_COLUMNS = ("source", "bytes", "modified")

Files = dict[str, tuple[int, int]]
"""Bytes of each photo's file and seconds at its last change, by its source."""


def photos_table(crops: Path) -> Path:
    """The table of the photos that a crop store was made of."""
    return crops.with_name(f"{crops.name}-photos.csv")


def align_named(
    photos: Path,
    out: Path,
    named: Sequence[str],
    face: FaceRule,
    template: Template,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    others: Iterable[Path] = (),
) -> tuple[CropStore, tuple[str, ...]]:
    """The crops of the photos that a protocol names; others are left unaligned.

    Args:
        photos: Folder of the photos, or another source of them.
        out: Folder of the crop store; one that is there already goes on.
        named: Sources of the photos, as the protocol spells them.
        face: The rule for which face of a photo is meant.
        template: What the crops look like.
        max_pixels: Height times width of the largest photo that is read.
        others: Folders of other crop stores. If there is none at ``out``, the first of
            these that was made of the same photos in the same way is taken.

    Returns:
        The store, and how names were matched and which crops were there, a line each.

    Raises:
        DataError: If none of the photos is there, none gave a crop, or photos have
            changed since they were aligned.
        FaceverError: If the photos cannot be read, or ``out`` cannot be written.
    """
    listing = find_photos(photos)
    there = [photo.source for photo in listing.photos]
    matches = match_photos(named, there)
    wanted = [listing.photos[row] for row in sorted({*matches.rows.tolist()} - {-1})]
    if not wanted:
        raise DataError(
            f"{photos} has none of the photos that are named, such as {named[0]}; "
            f"{matches.notes[0]}"
        )
    files = _files_of(wanted)
    if not out.exists():
        recipe = AlignRecipe(
            "mtcnn", face, listing.has_landmarks, max_pixels, template.name
        )
        for other in others:
            store = _find_store(other, files, store_settings(recipe))
            if store is not None:
                return store, (*matches.notes, _already(len(files), other))
    known = _read_files(out) if out.exists() else {}
    _check_unchanged(out, known, files)
    if not files.items() <= known.items():
        # Before the alignment, which may be killed.
        _write_files(out, {**known, **files})
    summary = align(
        photos,
        out,
        face=face,
        by_person=False,
        only=set(files),
        template=template.name,
        max_pixels=max_pixels,
    )
    num_known = len(files) - summary.num_new
    notes = [_already(num_known, out)] if num_known else []
    return CropStore.open(out), (*matches.notes, *notes)


def _already(count: int, crops: Path) -> str:
    return f"{count:,} of the photos had been aligned already: {crops}"


def _files_of(photos: Iterable[PhotoSource]) -> Files:
    found = {}
    for photo in photos:
        try:
            stat = photo.path.stat()
        except OSError as error:
            raise FileError(f"cannot read {photo.path}: {error.strerror}") from None
        found[photo.source] = stat.st_size, int(stat.st_mtime)
    return found


def _find_store(
    crops: Path, files: Files, settings: Mapping[str, object]
) -> CropStore | None:
    """A store of these very photos that was made with these settings, or None."""
    with suppress(FaceverError):
        store = CropStore.open(crops)
        done = {*map(photo_of, store.sources), *store.failures}
        if store.settings == settings and files.keys() <= done:
            known = _read_files(crops)
            if all(known.get(source) == file for source, file in files.items()):
                return store
    return None


def _check_unchanged(out: Path, known: Files, files: Files) -> None:
    changed = [
        source for source, file in files.items() if known.get(source, file) != file
    ]
    if changed:
        raise DataError(
            f"{out} holds crops of photos whose files are others now, {len(changed):,} "
            f"of them, such as {changed[0]}: give another --out, or remove {out}"
        )


def _read_files(crops: Path) -> Files:
    path = photos_table(crops)
    if not path.exists():
        return {}
    try:
        return {
            row["source"]: (int(row["bytes"]), int(row["modified"]))
            for row in read_csv(path, _COLUMNS, exact=True)
        }
    except ValueError as error:
        raise DataError(
            f"{path} is damaged ({error}): give another --out, or remove it and {crops}"
        ) from None


def _write_files(crops: Path, files: Files) -> None:
    with whole_file(photos_table(crops)) as temporary:
        write_csv(temporary, _COLUMNS, ((s, *file) for s, file in files.items()))
