"""Write a crop store so that a kill at any moment loses a little work and no more.

Work in progress stands in ``.partial`` (see ``unfinished``). To finish, all files of
the store are written there, and from there put into place (see ``folder``).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from facever.choices import DEFAULT_FACE, OneFace
from facever.csv_tables import write_csv
from facever.data.store.checksums import write_store_json
from facever.data.store.crop_store import (
    CropStore,
    crop_source,
    fingerprint_of,
    photo_of,
    settings_template,
)
from facever.data.store.folder import (
    CROPS_TABLE,
    FAILURES_FILE,
    PARTIAL_FOLDER,
    STORE_FILE,
    check_free,
    move_into_place,
    put_files_in_place,
)
from facever.data.store.tables import (
    CROP_COLUMNS,
    FAILURE_COLUMNS,
    NUMBER_COLUMNS,
    crop_numbers,
    label_identities,
    number_texts,
)
from facever.data.store.unfinished import PhotoEntry, UnfinishedCrops, check_settings
from facever.errors import DataError
from facever.files import check_folder_place, lock_folder, naming_write_errors

_BY_DEFAULT_RULE = NUMBER_COLUMNS.index(f"by_{DEFAULT_FACE}")
_REMEDY = "what was done before is kept, run the same command again"


class CropWriter:
    """Adds crops to a new store, to one that was left unfinished, or to a finished one.

    The photos of the store are always those of ``listing`` that are done, in its order,
    whatever the order in which they were added.

        with CropWriter(folder, settings, listing) as writer:
            for source in writer.missing:
                writer.add(source, crops, landmarks, scores)  # or writer.fail(...)
                writer.commit()
            store = writer.finish()

    Attributes:
        missing: Sources of ``listing`` that were not done on opening, in its order.
    """

    missing: list[str]

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        listing: Sequence[tuple[str, str]],
    ) -> None:
        """Open the folder for writing, and make it if need be.

        Args:
            folder: The store's folder.
            settings: The settings that crops are made with, as plain values; they are
                the same for the whole store.
            listing: Source and identity of every photo, each source once.

        Raises:
            MismatchError: If the folder holds crops that were made differently.
            DataError: If it holds photos that are not listed, or one is listed twice.
            FileError: If the folder cannot be written or holds something else, or if
                another process is writing to it, or if the settings name a template
                that this version of facever does not know.
        """
        settings_template(folder, settings)
        self._folder = folder
        self._settings = settings
        self._identity_of = dict(listing)
        if len(self._identity_of) != len(listing):
            raise DataError("the list of photos names a photo twice")
        self._partial: UnfinishedCrops | None = None
        check_folder_place(folder)
        with naming_write_errors(folder, _REMEDY):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = lock_folder(folder)
        try:
            with naming_write_errors(folder, _REMEDY):
                move_into_place(folder)
            self._old = self._open_old()
            self._old_photos = _photos_of(self._old) if self._old else {}
            if (folder / PARTIAL_FOLDER).exists():
                self._begin()
            self._check_known()
        except BaseException:
            self.close()
            raise
        done = self._done()
        self.missing = [source for source in self._identity_of if source not in done]

    def __enter__(self) -> "CropWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder; what was committed is kept for the next writer."""
        if self._partial:
            self._partial.close()
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def add(
        self,
        source: str,
        crops: UInt8[np.ndarray, "faces high wide 3"],
        landmarks: Float64[np.ndarray, "faces 5 2"],
        scores: Float64[np.ndarray, " faces"],
        num_faces: int | None = None,
        taken_by: Sequence[Sequence[OneFace]] | None = None,
    ) -> None:
        """Add the crops of one photo, at least one; ``commit`` makes them lasting.

        For the numbers see ``crop_numbers``.
        """
        assert len(crops)
        assert source in self._identity_of
        numbers = crop_numbers(landmarks, scores, num_faces, taken_by)
        with naming_write_errors(self._folder, _REMEDY):
            self._begin().add(source, crops, numbers)

    def fail(self, source: str, reason: str) -> None:
        """Put a photo that gave no crop into the ledger."""
        assert source in self._identity_of
        with naming_write_errors(self._folder, _REMEDY):
            self._begin().fail(source, reason)

    def commit(self) -> None:
        """Bring all that was added to the disk."""
        if self._partial:
            with naming_write_errors(self._folder, _REMEDY):
                self._partial.commit()

    def finish(self) -> CropStore:
        """Put the store in place and open it; with nothing new, only open it."""
        done = self._done()
        listing = [pair for pair in self._identity_of.items() if pair[0] in done]
        fingerprint = fingerprint_of(
            [names for names, _ in _name_crops(listing, done)],
            [source for source, _ in listing if done[source].reason is not None],
        )
        if not self._partial and self._old and self._old.fingerprint == fingerprint:
            return self._old
        with naming_write_errors(self._folder, _REMEDY):
            self._write_final_files(listing, done, fingerprint)
            put_files_in_place(self._folder / PARTIAL_FOLDER, self._folder)
        self.close()
        return CropStore.open(self._folder)

    def _open_old(self) -> CropStore | None:
        if (self._folder / STORE_FILE).exists():
            store = CropStore.open(self._folder)
            check_settings(self._folder, store.settings, self._settings)
            return store
        check_free(self._folder)
        return None

    def _begin(self) -> UnfinishedCrops:
        if not self._partial:
            with naming_write_errors(self._folder, _REMEDY):
                folder = self._folder / PARTIAL_FOLDER
                self._partial = UnfinishedCrops(folder, self._settings)
        return self._partial

    def _done(self) -> dict[str, PhotoEntry]:
        return {**self._old_photos, **(self._partial.photos if self._partial else {})}

    def _check_known(self) -> None:
        strangers = [
            source for source in self._done() if source not in self._identity_of
        ]
        if strangers:
            raise DataError(
                f"{self._folder} holds {len(strangers)} photos that are not in the "
                f"source, such as {strangers[0]}: write into a new folder"
            )

    def _write_final_files(
        self,
        listing: Sequence[tuple[str, str]],
        done: Mapping[str, PhotoEntry],
        fingerprint: str,
    ) -> None:
        partial = self._begin()
        folder = self._folder / PARTIAL_FOLDER
        crops = list(_name_crops(listing, done))
        _, labels = label_identities([identity for (_, identity), _ in crops])
        rows = (
            [row, identity, labels[row], source, *number_texts(numbers)]
            for row, ((source, identity), numbers) in enumerate(crops)
        )
        write_csv(folder / CROPS_TABLE, CROP_COLUMNS, rows)
        reasons = [(source, done[source].reason) for source, _ in listing]
        failures = [pair for pair in reasons if pair[1] is not None]
        write_csv(folder / FAILURES_FILE, FAILURE_COLUMNS, failures)
        about = {
            "settings": self._settings,
            "fingerprint": fingerprint,
            "num_crops": len(crops),
            "num_failures": len(failures),
        }
        order = [
            (source in self._old_photos, row)
            for source, _ in listing
            for row in done[source].rows
        ]
        partial.arrange(order, self._old)
        partial.close()
        write_store_json(folder, about)


def _name_crops(
    listing: Sequence[tuple[str, str]], done: Mapping[str, PhotoEntry]
) -> Iterator[tuple[tuple[str, str], Sequence[float]]]:
    """Source and identity of each crop, and its numbers.

    Of a photo's several faces one is the photo's person, as by default. The others are
    people of their own, ``photo#2`` and so on, for nobody says who they are.
    """
    for source, identity in listing:
        faces = done[source].numbers
        for face, numbers in enumerate(faces):
            is_other = len(faces) > 1 and numbers[_BY_DEFAULT_RULE] == 0
            who = f"{source}#{face + 1}" if is_other else identity
            yield (crop_source(source, face), who), numbers


def _photos_of(store: CropStore) -> dict[str, PhotoEntry]:
    photos = {
        source: PhotoEntry(range(0), [], reason)
        for source, reason in store.failures.items()
    }
    every = store.numbers(np.arange(len(store))).tolist()
    for row, (source, numbers) in enumerate(zip(store.sources, every, strict=True)):
        photo = photo_of(source)
        known = photos.get(photo, PhotoEntry(range(row, row), []))
        rows = range(known.rows.start, row + 1)
        photos[photo] = PhotoEntry(rows, [*known.numbers, numbers])
    return photos
