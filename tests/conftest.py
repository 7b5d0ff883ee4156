import os
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jaxtyping
import numpy as np
import pytest
from hypothesis import settings

# No timed assertions: a busy machine is not a failure. The same examples every time: a
# red run speaks of the change, not of luck; --hypothesis-profile explore draws others.
settings.register_profile("facever", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("facever")

TINY = {"width": 1 / 16, "embedding_size": 16}


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data for tests: the folder that FACEVER_DATA names."""
    folder = os.environ.get("FACEVER_DATA")
    if not folder:
        pytest.skip("set FACEVER_DATA to the data folder to run this test")
    return Path(folder)


@pytest.fixture(scope="session")
def small_image_files() -> SimpleNamespace:
    """What small_image_files.py defines: small image sets in the published forms."""
    path = Path(__file__).with_name("small_image_files.py")
    return SimpleNamespace(**runpy.run_path(str(path)))


@pytest.fixture(scope="session")
def onnx_networks() -> SimpleNamespace:
    """What onnx_networks.py defines: small networks of which the result is known."""
    path = Path(__file__).with_name("onnx_networks.py")
    return SimpleNamespace(**runpy.run_path(str(path)))


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """Write a video of RGB frames of one size; OpenCV can write MJPG into .avi."""
    import cv2

    def write(path: Path, frames: Sequence[np.ndarray], codec: str = "MJPG") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width, _ = frames[0].shape
        fourcc = cv2.VideoWriter.fourcc(*codec)
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, 25, (width, height))
        assert writer.isOpened()
        for frame in frames:
            writer.write(frame[:, :, ::-1])
        writer.release()
        return path

    return write


@pytest.fixture
def types_unchecked() -> Iterator[None]:
    """Run the library as its users do: without the type checks that pytest adds."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def draw_crops(num_crops: Sequence[int], seed: int = 0) -> np.ndarray:
    """Coarse patterns, one a person, each crop with its own grain."""
    rng = np.random.default_rng(seed)
    crops = []
    for count in num_crops:
        coarse = rng.integers(20, 230, (7, 6, 3)).repeat(16, axis=0).repeat(16, axis=1)
        grain = rng.integers(-20, 21, (count, 112, 96, 3))
        crops.append((coarse[None] + grain).astype(np.uint8))
    return np.concatenate(crops)


@pytest.fixture(scope="session")
def make_store() -> Callable[..., Path]:
    """Write a crop store with so many crops of each person."""
    from facever.data.store.writer import CropWriter

    def make(
        folder: Path,
        num_crops: Sequence[int] = (4, 4, 4),
        seed: int = 0,
        letter: str = "P",
    ) -> Path:
        crops = draw_crops(num_crops, seed)
        listing = [
            (f"{letter}{person}/{number}.png", f"{letter}{person}")
            for person, count in enumerate(num_crops)
            for number in range(count)
        ]
        unknown = np.full((1, 5, 2), np.nan)
        with CropWriter(folder, {}, listing) as writer:
            for (source, _), crop in zip(listing, crops, strict=True):
                writer.add(source, crop[None], unknown, np.array([np.nan]))
            writer.finish()
        return folder

    return make


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Path]:
    """Write a model file of a tiny random network; keywords go into its header."""
    import torch

    from facever.inference.formats.safetensors_file import save_model
    from facever.inference.header import ModelHeader
    from facever.models import build_network

    def make(path: Path, seed: int = 0, **header: Any) -> Path:
        torch.manual_seed(seed)
        network = build_network("resnet27", TINY)
        save_model(path, network, ModelHeader("resnet27", TINY, 16, **header))
        return path

    return make


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    code: int | str | None
    out: str
    err: str


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    types_unchecked: None,
) -> Callable[..., Finished]:
    """Run ``facever ...`` in this process."""
    from facever import cli

    def run(*arguments: object) -> Finished:
        monkeypatch.setattr(sys, "argv", ["facever", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return Finished(stop.value.code, out, err)

    return run
