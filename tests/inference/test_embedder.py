from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import facever
from facever.errors import DataError, ParameterError, PhotoError
from facever.faces.detection import Face
from facever.faces.detectors import DETECTORS, DetectorKind
from facever.faces.templates import CARD_POINTS
from facever.hardware import has_bf16_units
from facever.inference.embedder import Embedder, load
from facever.inference.model_file import load_model

RULES = ("sum", "concat", "none")


class FakeDetector:
    """Finds a face where a crop of the template would lie, and another, larger.

    A black photo has no face. A photo wider than 96 has a second face, 96 further to
    the right, whose box is larger.
    """

    def detect(self, photos: Sequence[np.ndarray]) -> list[list[Face]]:
        found = []
        for photo in photos:
            faces = []
            if photo.any():
                faces.append(Face(CARD_POINTS.copy(), np.array([9.0, 9, 50, 50]), 0.9))
            if photo.shape[1] > 96:
                second = CARD_POINTS + np.array([96.0, 0])
                faces.append(Face(second, np.array([96.0, 0, 190, 110]), 0.8))
            found.append(faces)
        return found


@pytest.fixture
def fake_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = DetectorKind(
        lambda device, backend: FakeDetector().detect, has_backends=False
    )
    monkeypatch.setitem(DETECTORS, "mtcnn", kind)


@pytest.fixture(scope="module")
def models(
    tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        rule: make_model(folder / f"{rule}.safetensors", mirror=rule, threshold=0.5)
        for rule in RULES
    }


def make(path: Path, precision: str = "fp32") -> Embedder:
    return load(path, device="cpu", precision=precision)


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """Smooth patterns: pure noise would drown what a mirror image changes."""
    coarse = np.random.default_rng(5).integers(0, 256, (7, 8, 7, 3), dtype=np.uint8)
    return np.stack([cv2.resize(small, (96, 112)) for small in coarse])


def by_hand(path: Path, crops: np.ndarray) -> np.ndarray:
    """Network output of (pixel - mean) / scale, crop by crop, in another way."""
    loaded = load_model(path)
    mean = loaded.header.mean
    if mean == "image":
        mean = loaded.network.preprocessing.mean.numpy()
    outputs = []
    for crop in crops:
        planes = np.moveaxis(
            (crop.astype(np.float64) - mean) / loaded.header.scale, 2, 0
        )
        image = torch.from_numpy(planes[None].copy()).float()
        with torch.no_grad():
            outputs.append(loaded.network.module(image)[0].numpy())
    return np.stack(outputs)


class TestEmbedCrops:
    @pytest.mark.parametrize("rule", RULES)
    def test_is_what_the_network_says_of_crop_and_mirror_image(
        self, models: dict[str, Path], crops: np.ndarray, rule: str
    ) -> None:
        plain = by_hand(models[rule], crops)
        mirrored = by_hand(models[rule], crops[:, :, ::-1])
        expected = {
            "none": plain,
            "sum": plain + mirrored,
            "concat": np.concatenate([plain, mirrored], axis=1),
        }[rule]
        embedder = make(models[rule])
        found = embedder.embed_crops(crops)
        assert found.dtype == np.float32
        assert found.shape == (7, embedder.embedding_size)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, atol=1e-5 * scale)
        # The mirror image does count: else the comparison would prove little.
        assert np.abs(plain - mirrored).max() > 0.01 * scale

    @pytest.mark.parametrize("mean", [100.0, "image"])
    def test_mean_and_scale_are_those_of_the_file(
        self, tmp_path: Path, crops: np.ndarray, mean: float | str
    ) -> None:
        from facever.inference.formats.safetensors_file import save_model
        from facever.inference.header import ModelHeader
        from facever.models import build_network

        torch.manual_seed(3)
        options = {"width": 1 / 16, "embedding_size": 16}
        # Not symmetrical, so that flipping it with the crop would show.
        picture = torch.rand(112, 96, 3) * 255 if mean == "image" else None
        path = tmp_path / "m.safetensors"
        header = ModelHeader("resnet27", options, 16, mean=mean, scale=50.0)
        save_model(path, build_network("resnet27", options), header, picture)
        expected = by_hand(path, crops) + by_hand(path, crops[:, :, ::-1])
        found = make(path).embed_crops(crops)
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())

    @pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 100])
    def test_the_batch_size_changes_the_speed_only(
        self, models: dict[str, Path], crops: np.ndarray, batch_size: int
    ) -> None:
        embedder = make(models["sum"])
        together = embedder.embed_crops(crops)
        found = embedder.embed_crops(crops, batch_size)
        # Kernels add up in another order for another batch: float32 rounding, no more.
        np.testing.assert_allclose(found, together, atol=1e-5 * np.abs(together).max())

    def test_a_crop_and_its_mirror_image_are_the_same_under_sum(
        self, models: dict[str, Path], crops: np.ndarray
    ) -> None:
        mirrored = np.ascontiguousarray(crops[:, :, ::-1])
        of_sum, of_none = make(models["sum"]), make(models["none"])
        found = of_sum.embed_crops(crops)
        scale = np.abs(found).max()
        np.testing.assert_allclose(
            of_sum.embed_crops(mirrored), found, atol=1e-5 * scale
        )
        apart = of_none.embed_crops(mirrored) - of_none.embed_crops(crops)
        assert np.abs(apart).max() > 0.01 * scale

    def test_concat_swaps_its_halves_for_the_mirror_image(
        self, models: dict[str, Path], crops: np.ndarray
    ) -> None:
        embedder = make(models["concat"])
        found = embedder.embed_crops(crops)
        swapped = embedder.embed_crops(np.ascontiguousarray(crops[:, :, ::-1]))
        np.testing.assert_allclose(
            swapped, np.roll(found, 16, axis=1), atol=1e-5 * np.abs(found).max()
        )

    def test_another_order_gives_the_same_rows_in_that_order(
        self, models: dict[str, Path], crops: np.ndarray
    ) -> None:
        embedder = make(models["sum"])
        order = np.array([6, 0, 3, 3, 1])
        found = embedder.embed_crops(crops)
        np.testing.assert_allclose(
            embedder.embed_crops(crops[order], 2),
            found[order],
            atol=1e-5 * np.abs(found).max(),
        )

    def test_reads_a_read_only_memory_map_and_reports_each_crop_once(
        self, tmp_path: Path, models: dict[str, Path], crops: np.ndarray
    ) -> None:
        np.save(tmp_path / "crops.npy", crops)
        mapped = np.load(tmp_path / "crops.npy", mmap_mode="r")
        steps = []

        def advance(count: int = 1, note: str = "") -> None:
            steps.append(count)

        embedder = make(models["sum"])
        found = embedder.embed_crops(mapped, 3, advance)
        assert steps == [3, 3, 1]
        np.testing.assert_array_equal(found, embedder.embed_crops(crops, 3))

    def test_no_crops_give_no_embeddings(self, models: dict[str, Path]) -> None:
        embedder = make(models["concat"])
        found = embedder.embed_crops(np.empty((0, 112, 96, 3), np.uint8))
        assert found.shape == (0, 32)

    def test_leaves_crops_and_gradients_alone(
        self, models: dict[str, Path], crops: np.ndarray
    ) -> None:
        before = crops.copy()
        make(models["sum"]).embed_crops(crops)
        np.testing.assert_array_equal(crops, before)
        assert torch.is_grad_enabled()

    @pytest.mark.parametrize("batch_size", [0, -1])
    def test_a_batch_size_below_one_is_refused(
        self, models: dict[str, Path], crops: np.ndarray, batch_size: int
    ) -> None:
        with pytest.raises(ParameterError, match=rf">= 1, got {batch_size}"):
            make(models["sum"]).embed_crops(crops, batch_size)

    @pytest.mark.skipif(not has_bf16_units("cpu"), reason="no units for bfloat16")
    @pytest.mark.parametrize("rule", RULES)
    def test_bf16_is_close_to_fp32(
        self, models: dict[str, Path], crops: np.ndarray, rule: str
    ) -> None:
        full = make(models[rule]).embed_crops(crops).astype(np.float64)
        half = make(models[rule], "bf16").embed_crops(crops).astype(np.float64)
        cosine = (full * half).sum(axis=1) / (
            np.linalg.norm(full, axis=1) * np.linalg.norm(half, axis=1)
        )
        assert cosine.min() > 0.999
        # bfloat16 keeps 8 bits: equal numbers would mean that it was not used.
        assert np.abs(full - half).max() > 1e-4 * np.abs(full).max()


class TestWhatAnEmbedderIs:
    @pytest.mark.parametrize(("rule", "size"), [("sum", 16), ("concat", 32)])
    def test_says_what_it_is(
        self, models: dict[str, Path], rule: str, size: int
    ) -> None:
        embedder = make(models[rule])
        assert embedder.embedding_size == size
        assert embedder.model_fingerprint == load_model(models[rule]).fingerprint
        assert embedder.header == load_model(models[rule]).header

    @pytest.mark.usefixtures("types_unchecked")
    def test_an_unknown_precision_is_refused(self, models: dict[str, Path]) -> None:
        with pytest.raises(ParameterError, match="auto, bf16 or fp32, got 'fp8'"):
            load(models["sum"], precision="fp8")

    @pytest.mark.parametrize("device", ["gpu", "", "cuda:99", "cpu:zero"])
    def test_a_device_that_is_not_there_is_refused(
        self, models: dict[str, Path], device: str
    ) -> None:
        with pytest.raises(ParameterError) as refusal:
            load(models["sum"], device=device)
        assert repr(device) in str(refusal.value)
        assert "\n" not in str(refusal.value)

    def test_load_takes_a_path_as_text(self, models: dict[str, Path]) -> None:
        assert facever.load(str(models["sum"])).embedding_size == 16


@pytest.mark.usefixtures("fake_detector")
class TestPhotos:
    @pytest.fixture
    def embedder(self, models: dict[str, Path]) -> Embedder:
        return make(models["sum"])

    def test_are_embedded_at_unit_length(
        self, embedder: Embedder, crops: np.ndarray
    ) -> None:
        found = embedder.embed(list(crops))
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
        raw = embedder.embed_crops(crops)
        expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
        # The face lies on the template already: the crop is the photo.
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_a_path_and_its_pixels_are_the_same(
        self, embedder: Embedder, crops: np.ndarray, tmp_path: Path
    ) -> None:
        path = tmp_path / "photo.png"
        cv2.imwrite(str(path), crops[0, :, :, ::-1])
        found = embedder.embed([path, str(path), crops[0]])
        np.testing.assert_allclose(found, found[[0, 0, 0]], atol=1e-6)

    def test_the_largest_face_counts(
        self, embedder: Embedder, crops: np.ndarray
    ) -> None:
        both = np.concatenate([crops[0], crops[1]], axis=1)
        found = embedder.embed([both])[0]
        expected = embedder.embed([crops[1]])[0]
        # The warp takes its border pixels from the neighbour: not bit-equal.
        assert found @ expected > 0.999
        assert found @ embedder.embed([crops[0]])[0] < found @ expected - 1e-3

    def test_verify_is_symmetrical(self, embedder: Embedder, crops: np.ndarray) -> None:
        there = embedder.verify(crops[0], crops[1])
        back = embedder.verify(crops[1], crops[0])
        assert there.cosine == pytest.approx(back.cosine, abs=1e-6)
        left, right = embedder.embed([crops[0], crops[1]])
        assert there.cosine == pytest.approx(float(left @ right), abs=1e-6)
        assert -1 <= there.cosine <= 1

    def test_a_photo_is_the_same_as_itself(
        self, embedder: Embedder, crops: np.ndarray
    ) -> None:
        answer = embedder.verify(crops[2], crops[2])
        assert answer.cosine == pytest.approx(1, abs=1e-6)
        assert answer.cosine <= 1
        assert answer.threshold == 0.5
        assert answer.same is True

    def test_same_means_strictly_above_the_threshold(
        self,
        tmp_path: Path,
        make_model: Callable[..., Path],
        models: dict[str, Path],
        crops: np.ndarray,
    ) -> None:
        cosine = make(models["sum"]).verify(crops[0], crops[1]).cosine
        below = float(np.nextafter(cosine, -2))
        path = tmp_path / "m.safetensors"
        for threshold, same in ((below, True), (cosine, False), (None, None)):
            # The weights are those of models["sum"]: the same seed drew them.
            make_model(path, threshold=threshold)
            answer = make(path).verify(crops[0], crops[1])
            assert answer.cosine == cosine
            assert answer.threshold == threshold
            assert answer.same is same

    def test_without_a_face_the_photo_is_named(
        self, embedder: Embedder, crops: np.ndarray, tmp_path: Path
    ) -> None:
        dark = tmp_path / "dark.png"
        cv2.imwrite(str(dark), np.zeros((112, 96, 3), np.uint8))
        with pytest.raises(DataError, match=r"no face found in .*dark\.png"):
            embedder.embed([crops[0], dark])
        with pytest.raises(DataError, match="no face found in array 1"):
            embedder.verify(crops[0], np.zeros((50, 60, 3), np.uint8))

    def test_a_photo_that_cannot_be_read_is_named(
        self, embedder: Embedder, crops: np.ndarray, tmp_path: Path
    ) -> None:
        missing, text = tmp_path / "missing.jpg", tmp_path / "text.jpg"
        text.write_text("no photo")
        for path in (missing, text):
            with pytest.raises(PhotoError) as refusal:
                embedder.verify(crops[0], path)
            assert str(path) in str(refusal.value)
            assert "\n" not in str(refusal.value)

    def test_no_photos_give_no_embeddings(self, embedder: Embedder) -> None:
        assert embedder.embed([]).shape == (0, 16)


def test_the_real_detector_finds_nobody_on_an_empty_wall(
    models: dict[str, Path],
) -> None:
    wall = np.full((60, 80, 3), 200, np.uint8)
    with pytest.raises(DataError, match="no face found in array 0"):
        make(models["sum"]).embed([wall])


@pytest.mark.realdata
def test_real_photos_through_the_real_detector(
    models: dict[str, Path], data_folder: Path
) -> None:
    folder = data_folder / "lfw-original-sample"
    first, second = sorted(folder.rglob("*.jpg"))[:2]
    embedder = make(models["sum"])
    answer = embedder.verify(first, second)
    assert answer.cosine < 1
    assert answer.cosine == pytest.approx(
        embedder.verify(second, first).cosine, abs=1e-5
    )
    assert embedder.verify(first, first).cosine == pytest.approx(1, abs=1e-5)
