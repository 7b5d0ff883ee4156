import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from facever.choices import DEFAULT_MAX_PIXELS
from facever.faces.detection import Face
from facever.faces.detectors import DETECTORS, DetectorKind
from facever.faces.templates import DEFAULT_TEMPLATE
from facever.gallery.folder.gallery import Gallery
from facever.gallery.meta import Threshold
from facever.inference.embedder import Embedder, load
from facever.serving.app import create_app
from facever.serving.binding import choose_access, listen
from facever.serving.connections import server_config
from facever.serving.face_reader import FaceReader
from facever.serving.gallery_thread import GalleryThread
from facever.synthetic import draw_face


def as_png(photo: np.ndarray) -> bytes:
    return cv2.imencode(".png", photo[:, :, ::-1])[1].tobytes()


@dataclass(frozen=True)
class Drawn:
    """A drawn photo, as a file's content, and the landmarks that it was drawn with."""

    photo: np.ndarray
    landmarks: list[np.ndarray]

    @property
    def png(self) -> bytes:
        return as_png(self.photo)

    @property
    def crops(self) -> np.ndarray:
        return DEFAULT_TEMPLATE.align(self.photo, np.stack(self.landmarks))


def draw(person: int, picture: int = 0) -> Drawn:
    drawn = draw_face(11, person, picture)
    return Drawn(drawn.photo, [drawn.landmarks])


def beside(left: Drawn, right: Drawn, grow: float = 1.0) -> Drawn:
    """Two photos in one, the right one grown."""
    grown = cv2.resize(right.photo, None, fx=grow, fy=grow)
    height = max(len(left.photo), len(grown))
    width = left.photo.shape[1]
    photo = np.zeros((height, width + grown.shape[1], 3), np.uint8)
    photo[: len(left.photo), :width] = left.photo
    photo[: len(grown), width:] = grown
    moved = (right.landmarks[0] + 0.5) * grow - 0.5 + [width, 0]
    return Drawn(photo, [left.landmarks[0], moved])


class KnowingDetector:
    """Stands in for MTCNN, which does not take all drawn faces for faces.

    It knows the faces of the photos that it was told of, and finds none on others.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, list[np.ndarray]] = {}

    def learn(self, drawn: Drawn) -> Drawn:
        self._known[drawn.photo.tobytes()] = drawn.landmarks
        return drawn

    def detect(self, photos: Sequence[np.ndarray]) -> list[list[Face]]:
        return [
            [
                Face(points, np.array([*points.min(0) - 20, *points.max(0) + 20]), 0.9)
                for points in self._known.get(photo.tobytes(), [])
            ]
            for photo in photos
        ]


@pytest.fixture(scope="session")
def detector() -> KnowingDetector:
    return KnowingDetector()


@pytest.fixture(autouse=True)
def _no_mtcnn(detector: KnowingDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = DetectorKind(lambda device, backend: detector.detect, has_backends=False)
    monkeypatch.setitem(DETECTORS, "mtcnn", kind)


@pytest.fixture(scope="session")
def album(detector: KnowingDetector) -> dict[str, Drawn]:
    """Ann and Bob, who are enrolled, a stranger, and a photo of two."""
    album = {"Ann": draw(1), "Bob": draw(2), "other Ann": draw(1, 1), "who": draw(3)}
    album["both"] = beside(album["Ann"], album["Bob"], 1.5)
    for drawn in album.values():
        detector.learn(drawn)
    return album


@pytest.fixture(scope="session")
def embedder(
    tmp_path_factory: pytest.TempPathFactory,
    make_model: Callable[..., Path],
) -> Embedder:
    return load(make_model(tmp_path_factory.mktemp("model") / "model.safetensors"))


@pytest.fixture
def folder(tmp_path: Path, embedder: Embedder, album: dict[str, Drawn]) -> Path:
    """A gallery of Ann and Bob, whom no stranger resembles enough."""
    path = tmp_path / "people"
    with Gallery.create(
        path, embedder.embedding_size, embedder.model_fingerprint
    ) as gallery:
        crops = np.concatenate([album["Ann"].crops, album["Bob"].crops])
        gallery.add(
            ["Ann", "Bob"], embedder.embed_crops(crops), ["Ann/1.jpg", "Bob/1.jpg"]
        )
        gallery.set_threshold(Threshold(0.99999, "fpir", 0.01, 2))
    return path


MakeApp = Callable[..., FastAPI]


@pytest.fixture
def make_app(
    folder: Path, embedder: Embedder, detector: KnowingDetector, types_unchecked: None
) -> Iterator[MakeApp]:
    """Make the application; unchecked, as FastAPI gives an ``UploadFile`` that is none.

    It is of the class that FastAPI's own derives from.
    """

    opened: list[GalleryThread | FaceReader] = []

    def make(
        write: bool = True,
        host: str = "127.0.0.1",
        token: str | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        min_quality: dict[str, float] | None = None,
    ) -> FastAPI:
        people = GalleryThread(folder, embedder.model_fingerprint)
        reader = FaceReader(embedder, max_pixels, min_quality)
        opened.extend([people, reader])
        return create_app(people, reader, choose_access(host, token), write)

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def client(make_app: MakeApp) -> Iterator[TestClient]:
    with TestClient(make_app(), base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.fixture
def address(make_app: MakeApp) -> Iterator[str]:
    """Of a server that runs in a thread."""
    sock = listen("127.0.0.1", 0)
    server = uvicorn.Server(server_config(make_app()))
    thread = threading.Thread(target=server.run, args=([sock],))
    thread.start()
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    server.should_exit = True
    thread.join()
