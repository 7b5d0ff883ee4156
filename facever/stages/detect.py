"""The stage ``facever detect``: photos in, the faces in them out."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from facever.choices import DEFAULT_MAX_PIXELS, Backend, Detector
from facever.csv_tables import write_csv
from facever.data.sources.any_source import find_photos
from facever.data.sources.csv_photos import LANDMARK_COLUMNS
from facever.errors import FaceverError, FileError, ParameterError
from facever.faces.aligner import NO_FACE, AlignRecipe
from facever.faces.detection import Face
from facever.faces.detectors import DETECTORS, check_detector
from facever.faces.framing import PICTURE_SUFFIXES, draw_faces, write_picture
from facever.faces.photo_source import PhotoSource, suffix_of
from facever.faces.photos import check_max_pixels
from facever.faces.workers import AlignWorkers, count_workers
from facever.files import check_file_place, check_folder_place, whole_file, whole_folder
from facever.progress import format_seconds, progress_bar, waiting
from facever.results import Result, counted, table_lines

BOX_COLUMNS = ("left", "top", "right", "bottom")
FACE_COLUMNS = ("source", "face", "score", *BOX_COLUMNS, *LANDMARK_COLUMNS, "reason")
"""The columns of the CSV: a row a face, or one with the reason for a photo without."""

_BATCH_PHOTOS = 32


@dataclass(frozen=True)
class PhotoFaces:
    """The faces of a photo.

    Attributes:
        source: The photo's name.
        height: The photo's height, upright, in pixels; 0 where it cannot be read.
        width: The photo's width.
        faces: Largest first, in the photo's pixels; their numbers count from 1.
        reason: Why there is none; None when there is one.
    """

    source: str
    height: int
    width: int
    faces: Sequence[Face]
    reason: str | None


@dataclass(frozen=True)
class FoundFaces(Result):
    """What a run of ``detect`` found.

    Attributes:
        source: Where the photos are.
        detector: How faces were searched.
        num_photos: Photos of the source.
        num_faces: Faces in all of them.
        num_without_face: Photos in which none was found.
        num_unreadable: Photos that gave nothing for another reason.
        photos: What was found in each; None if it went to a file.
        out: The CSV file, if one was written.
        show: The picture or the folder of pictures, if asked for.
        seconds: Wall time.
    """

    source: Path
    detector: Detector
    num_photos: int
    num_faces: int
    num_without_face: int
    num_unreadable: int
    photos: list[PhotoFaces] | None
    out: Path | None
    show: Path | None
    seconds: float

    def lines(self) -> list[str]:
        """The faces, what gave none and why, and the totals."""
        lines = []
        if self.photos is not None:
            rows = [_table_row(*face) for face in _numbered(self.photos)]
            if rows:
                columns = ("photo", "face", *BOX_COLUMNS, "score")
                lines += table_lines(columns, rows)
            lines += [f"{p.source}: {p.reason}" for p in self.photos if p.reason]
        lines.append(
            f"{self.source}: {counted(self.num_faces, 'face')} in "
            f"{counted(self.num_photos, 'photo')}, {self.num_without_face} without a "
            f"face, {self.num_unreadable} unreadable ({format_seconds(self.seconds)})"
        )
        if self.out:
            lines.append(f"  faces, and photos without one and why: {self.out}")
        if self.show and self.num_faces:
            lines.append(f"  faces framed and numbered: {self.show}")
        return lines

    def failure(self) -> FaceverError | None:
        """That no photo could be read at all."""
        if self.num_unreadable < self.num_photos:
            return None
        return FileError(
            f"{self.source}: {counted(self.num_photos, 'photo')}, none of which can be "
            "read; the reasons are above"
        )


def detect(
    source: Path,
    *,
    detector: Detector = "mtcnn",
    out: Path | None = None,
    show: Path | None = None,
    workers: int | None = None,
    device: str = "auto",
    backend: Backend = "auto",
    frames: str = "all",
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> FoundFaces:
    """Find all faces in the photos of a source.

    Args:
        source: A photo, or anything else that ``find_photos`` takes. Landmarks that it
            lists are not used.
        detector: One of ``DETECTORS`` but ``crops``.
        out: A CSV file to write, with ``FACE_COLUMNS``, as faces are found; the result
            then holds the totals alone, so that any number of photos fits in memory.
        show: Where to write pictures of the photos that have faces, framed and
            numbered: a ``.png`` or ``.jpg`` for a single photo, or a new folder.
        workers: Processes; by default one for each CPU that this process may use.
        device: Where MTCNN runs; ``auto``: on a GPU if there is one.
        backend: What computes its networks; see ``make_detector``.
        frames: Which frames of a video are taken; see ``find_photos``.
        max_pixels: Larger photos are not read.

    Raises:
        ParameterError: If an option is out of its range.
        FileError: If there are no photos, or a file cannot be written.
        ModelFileError: If a package that the detector needs is not installed.
    """
    started = time.monotonic()
    _check_options(detector, max_pixels)
    num_workers = count_workers(workers)
    if out:
        check_file_place(out)
    if show:
        check = check_file_place if _is_picture(show) else check_folder_place
        check(show)
    with waiting(f"listing {source}"):
        photos = find_photos(source, frames).photos
    _check_places(source, photos, out, show)
    recipe = AlignRecipe(
        detector, "all", max_pixels=max_pixels, device=device, backend=backend
    ).settle()
    tally = _Tally()
    kept = None
    with _open_pictures(show) as place:
        found = tally.count(_search(photos, recipe, num_workers))
        if place is not None:
            found = _draw(found, photos, place, max_pixels)
        if out is None:
            kept = list(found)
        else:
            with whole_file(out) as temporary:
                write_csv(temporary, FACE_COLUMNS, _csv_rows(found), for_people=True)
    return FoundFaces(
        source=source,
        detector=detector,
        num_photos=len(photos),
        num_faces=tally.num_faces,
        num_without_face=tally.num_without_face,
        num_unreadable=tally.num_unreadable,
        photos=kept,
        out=out,
        show=show,
        seconds=time.monotonic() - started,
    )


class _Tally:
    """Counts what goes by."""

    def __init__(self) -> None:
        self.num_faces = self.num_without_face = self.num_unreadable = 0

    def count(self, found: Iterable[PhotoFaces]) -> Iterator[PhotoFaces]:
        for photo in found:
            self.num_faces += len(photo.faces)
            self.num_without_face += photo.reason == NO_FACE
            self.num_unreadable += photo.reason not in (None, NO_FACE)
            yield photo


def _check_options(detector: Detector, max_pixels: int) -> None:
    check_detector(detector)
    if detector == "crops":
        searching = ", ".join(name for name in DETECTORS if name != "crops")
        raise ParameterError(
            f"detector must be one that searches, {searching}; got 'crops'"
        )
    check_max_pixels(max_pixels)


def _check_places(
    source: Path, photos: Sequence[PhotoSource], out: Path | None, show: Path | None
) -> None:
    """Refuse to write over what is read, and many pictures into one file."""
    if show and _is_picture(show) and len(photos) > 1:
        raise ParameterError(
            f"show must be a folder where there are several photos, here {len(photos)};"
            f" got {show}"
        )
    read = [source, photos[0].path]
    for option, path in (("out", out), ("show", show)):
        if path and path.is_file() and any(path.samefile(other) for other in read):
            raise ParameterError(
                f"{option} must not be what is read, got {path}; choose another name"
            )


def _search(
    photos: Sequence[PhotoSource], recipe: AlignRecipe, num_workers: int
) -> Iterator[PhotoFaces]:
    """What is found in each photo, in their order."""
    starts = range(0, len(photos), _BATCH_PHOTOS)
    batches = [list(photos[start : start + _BATCH_PHOTOS]) for start in starts]
    with (
        AlignWorkers(recipe, min(num_workers, len(batches))) as crew,
        progress_bar("detect", len(photos), "photos") as advance,
    ):
        for aligned in crew.align(batches):
            for photo in aligned:
                yield PhotoFaces(
                    photo.source, photo.height, photo.width, photo.faces, photo.reason
                )
            advance(len(aligned))


def _is_picture(path: Path) -> bool:
    return suffix_of(path.name) in PICTURE_SUFFIXES


@contextmanager
def _open_pictures(show: Path | None) -> Iterator[Path | None]:
    """Where to write pictures: a file, a folder, or nowhere."""
    if show is None or _is_picture(show):
        yield show
        return
    with whole_folder(show) as folder:
        yield folder


def _draw(
    found: Iterable[PhotoFaces],
    photos: Sequence[PhotoSource],
    place: Path,
    max_pixels: int,
) -> Iterator[PhotoFaces]:
    """Let photos go by and write a picture of each that has faces."""
    for photo, own in zip(photos, found, strict=True):
        if own.faces:
            numbers = [str(number + 1) for number in range(len(own.faces))]
            picture = draw_faces(photo.read(max_pixels), own.faces, numbers)
            write_picture(_picture_path(place, photo.source), picture)
        yield own


def _picture_path(place: Path, source: str) -> Path:
    """The picture's file; in a folder, the photo's own name where it says a format."""
    if _is_picture(place):
        return place
    return place / (source if _is_picture(Path(source)) else f"{source}.jpg")


def _numbered(photos: Iterable[PhotoFaces]) -> Iterator[tuple[str, int, Face]]:
    for photo in photos:
        for number, face in enumerate(photo.faces, start=1):
            yield photo.source, number, face


def _table_row(source: str, number: int, face: Face) -> list[str]:
    edges = [f"{edge:.0f}" for edge in face.box]
    return [source, str(number), *edges, f"{face.score:.2f}"]


def _csv_rows(photos: Iterable[PhotoFaces]) -> Iterator[list[object]]:
    for photo in photos:
        if not photo.faces:
            empty = [None] * (len(FACE_COLUMNS) - 2)
            yield [photo.source, *empty, photo.reason]
        for source, number, face in _numbered([photo]):
            places = [*face.box, *face.landmarks.ravel()]
            rounded = [f"{value:.2f}" for value in places]
            yield [source, number, f"{face.score:.4f}", *rounded, None]
