"""``facever cluster``: photos without names, sorted by person."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from facever.choices import (
    DEFAULT_MAX_PIXELS,
    DEFAULT_MODEL,
    Backend,
    ClusterMethod,
    Detector,
)
from facever.clustering.face_clusters import (
    ALONE,
    FaceClusters,
    check_cluster_options,
    cluster_embeddings,
)
from facever.clustering.sheets import cluster_groups
from facever.csv_tables import write_csv
from facever.data.sources.any_source import find_photos
from facever.data.store.contact_sheet import draw_groups
from facever.data.store.crop_store import CropStore, photo_of
from facever.data.store.folder import FAILURES_FILE, STORE_FILE
from facever.errors import MismatchError, ParameterError
from facever.faces.face_box import boxes_around
from facever.files import check_folder_place, check_outside, whole_file
from facever.inference.embedder import Embedder, load
from facever.inference.embeddings_file import check_array, read_embeddings
from facever.inference.kept_embeddings import embed_store
from facever.inference.verdict import choose_threshold, rate_in_words
from facever.progress import progress_bar
from facever.results import Result
from facever.stages.align import align
from facever.stages.person_folders import (
    ALONE_NAME,
    check_replaceable,
    write_person_folders,
)

CROPS_FOLDER = "crops"
EMBEDDINGS_FILE = "embeddings.npz"
CLUSTERS_FILE = "clusters.csv"
SHEET_FILE = "clusters.png"
PEOPLE_FOLDER = "people"

COLUMNS = "photo face cluster cosine left top right bottom".split()


@dataclass(frozen=True)
class ClusterSummary(Result):
    """How faces were sorted by person.

    Attributes:
        out: The folder of what was written.
        num_photos: Number of photos with a face.
        num_faces: Number of faces on them.
        num_clusters: Number of clusters, each one person if all went well.
        num_alone: Number of faces that are in no cluster.
        method: How they were sorted.
        threshold: The cosine above which two faces count as one person.
        far: The share of pairs of different people that the threshold accepts; None if
            that is not known.
        table: The CSV file with a line for each face.
        sheet: The picture of the largest clusters; None without crops or clusters.
        people: The folder of copies; None where none were asked for.
        old_people: The folder of copies that an earlier run has left, where none were
            asked for now: their clusters may be others.
        num_failed: Number of photos that cannot be read or show no face.
        failures: The table of these, with reasons; None if there are none.
    """

    out: Path
    num_photos: int
    num_faces: int
    num_clusters: int
    num_alone: int
    method: ClusterMethod
    threshold: float
    far: float | None
    table: Path
    sheet: Path | None
    people: Path | None
    old_people: Path | None
    num_failed: int
    failures: Path | None

    @property
    def strangers(self) -> float:
        """Strangers whom a face has above the threshold by chance; 0 if not known."""
        return (self.far or 0.0) * (self.num_faces - 1)

    def lines(self) -> list[str]:
        """The totals, and which file says what."""
        worth = f", which accepts {rate_in_words(self.far)}" if self.far else ""
        lines = [
            f"{self.out}: {self.num_faces:,} faces on {self.num_photos:,} photos: "
            f"{self.num_clusters:,} clusters, {self.num_alone:,} faces alone",
            f"  {self.method}, one person above cosine {self.threshold:.4f}{worth}",
            f"  each face: {self.table}",
        ]
        if self.sheet:
            lines.append(f"  the largest clusters: {self.sheet}")
        if self.people:
            lines.append(f"  copies of the photos: {self.people}")
        if self.old_people:
            lines.append(
                f"  of an earlier run, perhaps by other clusters: {self.old_people}; "
                "--copy replaces it"
            )
        if self.failures:
            lines.append(
                f"  {self.num_failed:,} photos without a face, and why: {self.failures}"
            )
        if self.strangers >= 1:
            lines.append(
                f"  so each face has about {self.strangers:,.0f} strangers above the "
                "threshold: where many people have one photo, take a higher one"
            )
        return lines


def cluster(
    photos: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    method: ClusterMethod = "agglomerative",
    threshold: float | None = None,
    far: float | None = None,
    min_size: int = 2,
    copy: bool = False,
    detector: Detector = "mtcnn",
    frames: str = "all",
    max_pixels: int = DEFAULT_MAX_PIXELS,
    device: str = "auto",
    array: str | None = None,
    backend: Backend = "auto",
) -> ClusterSummary:
    """Sort the faces on photos by person.

    All faces of each photo are cut out into the crop store ``crops`` and embedded into
    ``embeddings.npz``, where a run that was killed goes on; so another threshold or
    method costs little. The results are ``clusters.csv`` and ``clusters.png``.

    Args:
        photos: Any source of photos, see ``find_photos``; a crop store, whose crops are
            taken as they are; or an ``.npz`` of embeddings.
        out: Folder of what is written, not inside ``photos``.
        model: A model file, or a ready model's name; by default ``DEFAULT_MODEL``, and
            none for an ``.npz``.
        method: ``agglomerative`` or ``hdbscan``; see ``cluster_embeddings``.
        threshold: The cosine above which two faces count as one person; by default the
            model's own.
        far: In its place, the false accept rate of a threshold that the model knows.
        min_size: Faces that make a cluster, at least 2.
        copy: Copy each photo into the folders ``people/person-001`` and so on of all
            who are on it, or ``people/alone`` if nobody on it is in a cluster. Copies
            of an earlier run are replaced, if nobody has changed anything there.
        detector: How faces are found in photos without known landmarks.
        frames: Which frames of a video are taken; see ``find_photos``.
        max_pixels: Height times width of the largest photo that is read.
        device: Where the networks run: ``auto``, ``cpu``, ``cuda``...
        array: What an ``.npz`` calls its arrays, see ``read_embeddings``.
        backend: What computes the networks; see ``Embedder``.

    Raises:
        ParameterError: If an option is out of its range, no threshold is known, there
            are no photos to copy, or ``out`` is inside ``photos``.
        ModelFileError: If the model cannot be used.
        MismatchError: If an ``.npz`` is of another model.
        FileError: If a path is missing or cannot be written, or copies are there
            already.
        DataError: If no photo gives a face, or ``out`` has crops of other photos or
            for models of another template.
    """
    photos, out = Path(photos), Path(out)
    check_outside(out, photos, "OUT", "PHOTOS")
    check_array(array, photos.suffix == ".npz")
    people = out / PEOPLE_FOLDER
    if copy:
        _check_copy(photos, people)
    check_folder_place(out)
    if model is None and photos.suffix != ".npz":
        model = DEFAULT_MODEL
    embedder = (
        None
        if model is None
        else load(
            model, device, detector=detector, max_pixels=max_pixels, backend=backend
        )
    )
    cosine, rate = _threshold_in_use(threshold, far, embedder)
    check_cluster_options(cosine, method, min_size)
    if photos.suffix == ".npz":
        faces = _read_faces(photos, array, embedder)
    else:
        assert embedder is not None
        faces = _find_faces(photos, out, embedder, detector, frames, max_pixels, device)
    with progress_bar("cluster", len(faces.sources), "faces") as advance:
        found = cluster_embeddings(
            faces.embeddings, cosine, method=method, min_size=min_size, advance=advance
        )
    with whole_file(out / CLUSTERS_FILE) as temporary:
        write_csv(temporary, COLUMNS, _rows(faces, found), for_people=True)
    has_sheet = _write_sheet(out / SHEET_FILE, faces.store, found)
    if copy:
        clusters_on: dict[str, set[int]] = defaultdict(set)
        for source, number in zip(faces.sources, found.clusters.tolist(), strict=True):
            clusters_on[photo_of(source)].add(number)
        listing = find_photos(photos, frames)
        write_person_folders(listing.photos, clusters_on, found.num_clusters, people)
    store = faces.store
    return ClusterSummary(
        out=out,
        num_photos=len(set(map(photo_of, faces.sources))),
        num_faces=len(faces.sources),
        num_clusters=found.num_clusters,
        num_alone=found.num_alone,
        method=method,
        threshold=cosine,
        far=rate,
        table=out / CLUSTERS_FILE,
        sheet=out / SHEET_FILE if has_sheet else None,
        people=people if copy else None,
        old_people=people if people.exists() and not copy else None,
        num_failed=len(store.failures) if store else 0,
        failures=store.folder / FAILURES_FILE if store and store.failures else None,
    )


@dataclass(frozen=True)
class _Faces:
    """Faces to sort: their sources as in a crop store, which an ``.npz`` has not."""

    sources: Sequence[str]
    embeddings: Float[np.ndarray, "faces dim"]
    store: CropStore | None


def _threshold_in_use(
    threshold: float | None, far: float | None, embedder: Embedder | None
) -> tuple[float, float | None]:
    """The threshold and its false accept rate, if known."""
    if embedder is None:
        if threshold is None or far is not None:
            raise ParameterError(
                "embeddings without a model need threshold, the cosine above which two "
                f"faces count as one person, and no far; got {threshold} and {far}"
            )
        return threshold, None
    cosine, rate = choose_threshold(embedder.header, threshold, far)
    if cosine is None:
        raise ParameterError(
            "this model knows no threshold: set one with facever model threshold, or "
            "give threshold, the cosine above which two faces count as one person"
        )
    return cosine, rate


def _check_copy(photos: Path, people: Path) -> None:
    if photos.suffix == ".npz" or (photos / STORE_FILE).exists():
        raise ParameterError(
            f"--copy copies photos, and {photos} has none: give the photos themselves"
        )
    check_replaceable(people)


def _read_faces(path: Path, array: str | None, embedder: Embedder | None) -> _Faces:
    """Faces that somebody has embedded already."""
    file = read_embeddings(path, array)
    if embedder and file.model_fingerprint != embedder.model_fingerprint:
        raise MismatchError(
            f"{path}: these embeddings are of model "
            f"{(file.model_fingerprint or 'unknown')[:12]}, not of "
            f"{embedder.model_fingerprint[:12]}; leave --model out to go by the file"
        )
    return _Faces(file.images, file.embeddings, None)


def _find_faces(
    photos: Path,
    out: Path,
    embedder: Embedder,
    detector: Detector,
    frames: str,
    max_pixels: int,
    device: str,
) -> _Faces:
    """The faces of photos or of a crop store, embedded."""
    if (photos / STORE_FILE).exists():
        store = CropStore.open(photos)
    else:
        align(
            photos,
            out / CROPS_FOLDER,
            face="all",
            by_person=False,
            detector=detector,
            frames=frames,
            device=device,
            max_pixels=max_pixels,
            template=embedder.template.name,
        )
        store = CropStore.open(out / CROPS_FOLDER)
    with progress_bar("embed", len(store), "crops") as advance:
        embeddings = embed_store(embedder, store, out / EMBEDDINGS_FILE, advance)
    return _Faces(store.sources, embeddings, store)


def _rows(faces: _Faces, found: FaceClusters) -> Iterator[tuple[object, ...]]:
    """A line for each face, cluster by cluster, those that are alone at the end."""
    boxes = _boxes(faces)
    for number in (*range(found.num_clusters), ALONE):
        for row in found.rows_of(number).tolist():
            source = faces.sources[row]
            photo = photo_of(source)
            is_alone = number == ALONE
            yield (
                photo,
                1 if source == photo else int(source.removeprefix(f"{photo}#")),
                ALONE_NAME if is_alone else number + 1,
                None if is_alone else f"{found.cosine[row]:.4f}",
                *(None if np.isnan(edge) else f"{edge:.1f}" for edge in boxes[row]),
            )


def _boxes(faces: _Faces) -> Float[np.ndarray, "faces 4"]:
    """The box of each face, as its landmarks place it, pixels; NaN where unknown."""
    if faces.store is None:
        return np.full((len(faces.sources), 4), np.nan)
    return boxes_around(faces.store.landmarks)


def _write_sheet(path: Path, store: CropStore | None, found: FaceClusters) -> bool:
    """Show the largest clusters; without any, take away what another run left."""
    if store is None or not found.num_clusters:
        path.unlink(missing_ok=True)
        return False
    with whole_file(path) as temporary:
        sheet = draw_groups(cluster_groups(store, found))
        Image.fromarray(sheet).save(temporary, format="PNG")
    return True
