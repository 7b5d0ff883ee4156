"""Small stores whose every number and pixel follows from the source."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from facever.data.store.writer import CropWriter

SETTINGS = {"note": [[1.5, 2.0]], "face": "all"}


def _random(source: str, face: int) -> np.random.Generator:
    return np.random.default_rng([*source.encode(errors="surrogateescape"), face])


@pytest.fixture(scope="session")
def crop_of() -> Callable[..., np.ndarray]:
    """The pixels that only this face of this photo has."""

    def crop(source: str, face: int = 0) -> np.ndarray:
        # Smooth, so that JPEG keeps it nearly as it is.
        corners = _random(source, face).uniform(0, 255, (2, 2, 3))
        down = np.linspace(0, 1, 112)[:, None, None]
        across = np.linspace(0, 1, 96)[None, :, None]
        top = corners[0, 0] * (1 - across) + corners[0, 1] * across
        bottom = corners[1, 0] * (1 - across) + corners[1, 1] * across
        return (top * (1 - down) + bottom * down).astype(np.uint8)

    return crop


@pytest.fixture(scope="session")
def write_crops(crop_of: Callable[..., np.ndarray]) -> Callable[..., Path]:
    """Write a store: source and identity of each photo, its faces, what failed."""

    def write(
        folder: Path,
        listing: Sequence[tuple[str, str]],
        num_faces: int = 1,
        failures: Mapping[str, str] | None = None,
        settings: Mapping[str, object] = SETTINGS,
        rules_known: bool = True,
    ) -> Path:
        rules = [["largest"], ["prominent", "best"], ["center"]][:num_faces]
        with CropWriter(folder, settings, listing) as writer:
            for source, _ in listing:
                if source in (failures or {}):
                    writer.fail(source, (failures or {})[source])
                    continue
                random = [_random(source, face) for face in range(num_faces)]
                writer.add(
                    source,
                    np.stack([crop_of(source, face) for face in range(num_faces)]),
                    np.stack([rng.normal(size=(5, 2)) * 100 for rng in random]),
                    np.array([rng.random() for rng in random]),
                    num_faces,
                    rules if rules_known else None,
                )
            writer.finish()
        return folder

    return write


@pytest.fixture(scope="session")
def content_of() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder, hidden ones too."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return read
