"""A run that a teacher takes part in: what it learns, keeps and says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facever.config.training import TrainConfig
from facever.data.store.crop_store import CropStore
from facever.errors import ConfigError, FaceverError, MismatchError, ModelFileError
from facever.faces.templates import TEMPLATES
from facever.inference.embedder import Embedder
from facever.inference.embeddings_file import read_embeddings
from facever.inference.formats.safetensors_file import save_model
from facever.inference.header import ModelHeader, crop_fields
from facever.inference.model_file import load_model
from facever.models import build_network
from facever.stages.training.setup import prepare_run
from facever.stages.training.train import train


@pytest.fixture
def store(tmp_path: Path, make_store: Callable[..., Path]) -> Path:
    return make_store(tmp_path / "crops", (4, 3, 5))


@pytest.fixture
def teacher(tmp_path: Path, make_model: Callable[..., Path]) -> Path:
    return make_model(
        tmp_path / "teacher.safetensors", training_data="other faces", licence="MIT"
    )


def make_config(store: Path, teacher: Path | str, **changes: Any) -> TrainConfig:
    content = {
        "data": {"crops": str(store), "name": "drawn patterns"},
        "teacher": str(teacher),
        "network": {
            "name": "resnet27",
            "width": 1 / 16,
            "embedding_size": 16,
            "normalised_embedding": True,
        },
        "heads": [{"name": "distillation", "weight": 10.0}],
        "optimiser": {"learning_rate": 0.05},
        "schedule": {"steps": 4, "shape": "cosine"},
        "batch_size": 6,
        "precision": "fp32",
        "device": "cpu",
        "log_every": 1,
        "out": str(store.parent / "run"),
    }
    return TrainConfig.model_validate(content | changes)


def kept(store: Path) -> Path:
    [path] = store.parent.glob("crops-teacher-*.npz")
    return path


def test_a_batch_holds_the_teachers_embeddings_of_its_own_crops(
    store: Path, teacher: Path
) -> None:
    run = prepare_run(make_config(store, teacher))
    model = load_model(teacher)
    expected = Embedder(model, "cpu").embed_crops(CropStore.open(store).crops)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    for step in range(5):
        batch = run.loader.batch(step)
        assert batch.teacher is not None
        # Nothing changes the crops but the mirror, so each is found by its pixels.
        for crop, given in zip(batch.crops.numpy(), batch.teacher.numpy(), strict=True):
            same = (run.store.crops[:] == crop).all(axis=(1, 2, 3))
            np.testing.assert_allclose(given, expected[same][0], atol=1e-6)


def test_a_student_comes_to_give_its_teachers_embeddings(
    store: Path, teacher: Path
) -> None:
    config = make_config(store, teacher, schedule={"steps": 60, "shape": "cosine"})
    train(config)
    lines = map(json.loads, (config.out / "log.jsonl").read_text().splitlines())
    cosines = [line["distillation.cosine"] for line in lines]
    assert np.mean(cosines[:5]) < 0.5
    assert np.mean(cosines[-5:]) > 0.9


def test_embeddings_are_made_once_and_anew_for_what_has_changed(
    store: Path,
    teacher: Path,
    make_store: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embedded: list[int] = []
    embed_crops = Embedder.embed_crops

    def count(self: Embedder, crops: Any, *rest: Any, **named: Any) -> np.ndarray:
        embedded.append(len(crops))
        return embed_crops(self, crops, *rest, **named)

    monkeypatch.setattr(Embedder, "embed_crops", count)
    prepare_run(make_config(store, teacher))
    assert sum(embedded) == 12
    prepare_run(make_config(store, teacher))
    assert sum(embedded) == 12
    # Another store of the same name and with the same sources, but other photos.
    store.rename(store.with_name("old"))
    make_store(store, (4, 3, 5), seed=1)
    run = prepare_run(make_config(store, teacher))
    assert sum(embedded) == 24
    file = read_embeddings(kept(store))
    np.testing.assert_array_equal(file.checksums, run.store.checksums)


def test_each_teacher_has_a_file_of_its_own(
    store: Path, teacher: Path, make_model: Callable[..., Path]
) -> None:
    other = make_model(teacher.with_name("other.safetensors"), seed=1)
    for each in (teacher, other):
        prepare_run(make_config(store, each))
    one, two = map(read_embeddings, store.parent.glob("crops-teacher-*.npz"))
    assert not np.allclose(one.embeddings, two.embeddings)


def test_the_model_and_its_card_say_whom_it_learned_from(
    store: Path, teacher: Path
) -> None:
    config = make_config(store, teacher)
    model = load_model(train(config).model)
    said = f"{teacher} (resnet27, trained on other faces, licence: MIT)"
    assert model.header.training_data == f"drawn patterns, taught by {said}"
    card = (config.out / "README.md").read_text()
    fingerprint = load_model(teacher).fingerprint
    assert f"It was taught by {said}, fingerprint {fingerprint}" in card


def test_a_run_does_not_go_on_with_another_teacher(
    store: Path, teacher: Path, make_model: Callable[..., Path]
) -> None:
    train(make_config(store, teacher))
    # The same teacher elsewhere is the same.
    teacher.rename(teacher.with_name("moved.safetensors"))
    assert train(make_config(store, teacher.with_name("moved.safetensors")))
    other = make_model(teacher.with_name("other.safetensors"), seed=1)
    with pytest.raises(FaceverError, match="another"):
        train(make_config(store, other))


def test_a_teacher_of_another_size_and_a_head_beside_it(
    store: Path, teacher: Path
) -> None:
    heads = [{"name": "arcface", "scale": 8.0}, {"name": "distillation"}]
    network = {"name": "resnet27", "width": 1 / 16, "embedding_size": 8}
    config = make_config(store, teacher, heads=heads, network=network)
    assert load_model(train(config).model).header.embedding_size == 8


def test_people_have_no_part_in_it(
    tmp_path: Path, teacher: Path, make_store: Callable[..., Path]
) -> None:
    """Photos of one folder count as one person."""
    store = make_store(tmp_path / "crops", (12,))
    assert train(make_config(store, teacher)).model.exists()


def test_a_teacher_without_a_head_is_refused(store: Path, teacher: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare_run(make_config(store, teacher, heads=[{"name": "softmax"}]))
    assert str(caught.value) == (
        f"teacher={teacher} teaches nothing: no head learns from it; add the head "
        "distillation, or leave teacher out"
    )


def test_a_head_without_a_teacher_is_refused(store: Path) -> None:
    config = make_config(store, "").model_copy(update={"teacher": None})
    with pytest.raises(ConfigError, match="head distillation learns from a teacher"):
        prepare_run(config)


def test_a_teacher_that_is_not_there_is_named(store: Path) -> None:
    with pytest.raises(ModelFileError, match=r"^teacher: .*nobody\.onnx"):
        prepare_run(make_config(store, "nobody.onnx"))


def test_a_teacher_of_other_crops_is_refused(store: Path, tmp_path: Path) -> None:
    options = {"embedding_size": 8, "width": 1}
    header = ModelHeader(
        "mobilefacenet", options, 8, **crop_fields(TEMPLATES["112x112"])
    )
    wide = tmp_path / "wide.safetensors"
    save_model(wide, build_network("mobilefacenet", options), header)
    with pytest.raises(MismatchError, match=r"^teacher: .*--template 112x112"):
        prepare_run(make_config(store, wide))
