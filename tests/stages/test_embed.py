from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import facever
from facever.data.store.crop_store import CropStore
from facever.errors import (
    DataError,
    FaceverError,
    FileError,
    ModelFileError,
    ParameterError,
)
from facever.inference.embeddings_file import read_embeddings
from facever.inference.formats.safetensors_file import save_model
from facever.inference.header import ModelHeader
from facever.inference.model_file import load_model
from facever.models import build_network
from facever.stages.embed import embed


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, make_store: Callable[..., Path]
) -> Path:
    return make_store(tmp_path_factory.mktemp("embed") / "crops", (3, 1, 2))


@pytest.fixture(scope="module")
def model(
    tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]
) -> Path:
    path = tmp_path_factory.mktemp("embed") / "model.safetensors"
    return make_model(path, threshold=0.5, threshold_far=1e-3)


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def test_writes_embeddings_sources_and_the_hash(
    model: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "down" / "embeddings.npz"
    summary = embed(model, store, out, precision="fp32", device="cpu")

    arrays = read(out)
    assert set(arrays) == {"embeddings", "images", "model_fingerprint"}
    assert arrays["embeddings"].dtype == np.float32
    embedder = facever.load(model, device="cpu", precision="fp32")
    expected = embedder.embed_crops(CropStore.open(store).crops)
    np.testing.assert_array_equal(arrays["embeddings"], expected)
    # Not normalised: a PCA wants the features as they are.
    assert np.ptp(np.linalg.norm(arrays["embeddings"], axis=1)) > 1e-3
    assert arrays["images"].tolist() == [
        "P0/0.png",
        "P0/1.png",
        "P0/2.png",
        "P1/0.png",
        "P2/0.png",
        "P2/1.png",
    ]
    assert str(arrays["model_fingerprint"]) == load_model(model).fingerprint
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    printed = capsys.readouterr()
    assert "6 embeddings of 16 dimensions" in str(summary)
    assert printed.out == ""
    assert "embed: 6 crops" in printed.err


def test_is_what_the_next_stage_reads(model: Path, store: Path, tmp_path: Path) -> None:
    embed(model, store, tmp_path / "e.npz")
    file = read_embeddings(tmp_path / "e.npz")
    assert file.embeddings.shape == (6, 16)
    assert file.images == CropStore.open(store).sources
    assert file.model_fingerprint == load_model(model).fingerprint


@pytest.mark.parametrize("batch_size", [1, 4, 6, 1000])
def test_any_batch_size_gives_the_same(
    model: Path, store: Path, tmp_path: Path, batch_size: int
) -> None:
    for name, size in (("a", 64), ("b", batch_size)):
        embed(model, store, tmp_path / f"{name}.npz", batch_size=size, precision="fp32")
    first, second = (read(tmp_path / f"{name}.npz")["embeddings"] for name in "ab")
    np.testing.assert_allclose(first, second, atol=1e-5 * np.abs(first).max())


def test_runs_give_the_same_embeddings(
    model: Path, store: Path, tmp_path: Path
) -> None:
    embed(model, store, tmp_path / "a.npz")
    embed(model, store, tmp_path / "b.npz")
    first, second = read(tmp_path / "a.npz"), read(tmp_path / "b.npz")
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_another_mirror_rule_makes_other_embeddings_of_another_model(
    model: Path, store: Path, tmp_path: Path
) -> None:
    arrays = {}
    for rule in (None, "sum", "concat", "none"):
        out = tmp_path / f"{rule}.npz"
        embed(model, store, out, mirror=rule, precision="fp32", device="cpu")
        arrays[rule] = read(out)
    plain, both = arrays["none"]["embeddings"], arrays["concat"]["embeddings"]
    assert both.shape == (6, 32)
    scale = np.abs(both).max()
    np.testing.assert_allclose(both[:, :16], plain, atol=1e-5 * scale)
    np.testing.assert_allclose(
        both[:, :16] + both[:, 16:], arrays["sum"]["embeddings"], atol=1e-5 * scale
    )
    np.testing.assert_array_equal(
        arrays[None]["embeddings"], arrays["sum"]["embeddings"]
    )
    # A gallery of one rule must refuse embeddings of another.
    hashes = {rule: str(array["model_fingerprint"]) for rule, array in arrays.items()}
    assert hashes[None] == hashes["sum"]
    assert len(set(hashes.values())) == 3


def test_overwrites_what_is_there(model: Path, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.npz"
    out.write_text("older")
    embed(model, store, out)
    assert read(out)["embeddings"].shape == (6, 16)


@pytest.mark.parametrize("weight", [0.0, 3e38])
def test_an_embedding_of_zeros_or_beyond_numbers_is_refused_by_name(
    store: Path, tmp_path: Path, weight: float
) -> None:
    options = {"width": 1 / 16, "embedding_size": 16}
    network = build_network("resnet27", options)
    torch.nn.init.constant_(network.get_submodule("fc5").weight, weight)
    path = tmp_path / "model.safetensors"
    save_model(path, network, ModelHeader("resnet27", options, 16))
    with pytest.raises(DataError, match=r"0 of 6 \(P0/0.png\) is all zero or not fin"):
        embed(path, store, tmp_path / "out.npz", device="cpu")
    assert not (tmp_path / "out.npz").exists()


class TestRefusals:
    def refused(
        self,
        kind: type[FaceverError],
        model: Path,
        store: Path,
        out: Path,
        **options: object,
    ) -> str:
        before = sorted(out.parent.iterdir()) if out.parent.is_dir() else None
        with pytest.raises(kind) as refusal:
            embed(model, store, out, **options)
        after = sorted(out.parent.iterdir()) if out.parent.is_dir() else None
        assert after == before or after == []
        assert "\n" not in str(refusal.value)
        return str(refusal.value)

    @pytest.mark.parametrize("name", ["embeddings.npy", "embeddings", "e.npz.txt"])
    def test_another_suffix(
        self, model: Path, store: Path, tmp_path: Path, name: str
    ) -> None:
        message = self.refused(ParameterError, model, store, tmp_path / name)
        assert ".npz" in message
        assert name in message

    def test_a_missing_model(self, store: Path, tmp_path: Path) -> None:
        missing = tmp_path / "missing.safetensors"
        out = tmp_path / "out" / "e.npz"
        message = self.refused(ModelFileError, missing, store, out)
        assert str(missing) in message

    def test_a_missing_store(self, model: Path, tmp_path: Path) -> None:
        out = tmp_path / "out" / "e.npz"
        message = self.refused(FileError, model, tmp_path / "missing", out)
        assert str(tmp_path / "missing") in message

    def test_an_empty_folder(self, model: Path, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        out = tmp_path / "out" / "e.npz"
        message = self.refused(FileError, model, tmp_path / "empty", out)
        assert "facever align" in message

    def test_a_batch_size_of_nothing(
        self, model: Path, store: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "e.npz"
        message = self.refused(ParameterError, model, store, out, batch_size=0)
        assert "batch_size must be >= 1, got 0" in message

    def test_a_device_that_is_not_there(
        self, model: Path, store: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "e.npz"
        message = self.refused(ParameterError, model, store, out, device="cuda:99")
        assert "'cuda:99'" in message

    @pytest.mark.parametrize("place", ["folder.npz", "file/e.npz"])
    def test_a_place_that_cannot_be_written(
        self, model: Path, store: Path, tmp_path: Path, place: str
    ) -> None:
        (tmp_path / "folder.npz").mkdir()
        (tmp_path / "file").write_text("in the way")
        message = self.refused(FileError, model, store, tmp_path / place)
        assert str(tmp_path / place) in message
        assert (tmp_path / "file").read_text() == "in the way"
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "file",
            "folder.npz",
        ]

    def test_a_full_disk_keeps_the_older_file(
        self,
        model: Path,
        store: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        out = tmp_path / "e.npz"
        out.write_text("older")

        def fail(file: object, **arrays: object) -> None:
            file.write(b"half of it")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "savez", fail)
        message = self.refused(FileError, model, store, out)
        assert "No space left" in message
        assert out.read_text() == "older"

    def test_an_interruption_leaves_nothing(
        self,
        model: Path,
        store: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def stop(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(np, "savez", stop)
        with pytest.raises(KeyboardInterrupt):
            embed(model, store, tmp_path / "e.npz")
        assert list(tmp_path.iterdir()) == []
