"""Averages, weights of another model and frozen parts, through the stage."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from facever.config.training import TrainConfig
from facever.errors import ModelFileError, ParameterError
from facever.stages.training.setup import prepare_run
from facever.stages.training.train import train


def make_config(store: Path, out: Path, **changes: Any) -> TrainConfig:
    content: dict[str, Any] = {
        "data": {"crops": str(store)},
        "network": {"name": "resnet27", "width": 1 / 16, "embedding_size": 8},
        "optimiser": {"learning_rate": 0.01},
        "schedule": {"steps": 3, "shape": "cosine"},
        "batch_size": 6,
        "precision": "fp32",
        "device": "cpu",
        "out": str(out),
    }
    return TrainConfig.model_validate(content | changes)


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, make_store: Callable[..., Path]
) -> Path:
    return make_store(tmp_path_factory.mktemp("tuning") / "crops", (4, 3, 5))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
    return train(make_config(store, tmp_path_factory.mktemp("tuned") / "run")).model


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix("network."): value for name, value in load_file(path).items()
    }


def test_the_model_file_holds_the_average(store: Path, tmp_path: Path) -> None:
    path = train(make_config(store, tmp_path / "run", ema=0.5)).model
    kept = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    found = weights_of(path)
    for name, value in kept["average"].items():
        assert torch.equal(found[name], value), name
    assert not torch.equal(found["fc5.weight"], kept["network"]["fc5.weight"])
    # Lost and written again from the checkpoint.
    written = path.read_bytes()
    path.unlink()
    again = train(make_config(store, tmp_path / "run", ema=0.5)).model
    assert again.read_bytes() == written


def test_a_run_starts_from_another_s_weights_and_frozen_parts_keep_them(
    store: Path, model: Path, tmp_path: Path
) -> None:
    config = make_config(store, tmp_path / "run", init=str(model), frozen=["trunk"])
    before, after = weights_of(model), weights_of(train(config).model)
    assert not torch.equal(after["fc5.weight"], before["fc5.weight"])
    for name, value in before.items():
        assert torch.equal(after[name], value) == name.startswith("trunk."), name
    # The file's place is not what a checkpoint goes by, its weights are.
    card = (tmp_path / "run" / "README.md").read_text()
    assert "started from resnet27 width=0.0625" in card
    assert "trained on unnamed (licence: unknown), fingerprint " in card
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(model.read_bytes())
    train(make_config(store, tmp_path / "run", init=str(moved), frozen=["trunk"]))
    other = tmp_path / "run" / "model.safetensors"
    with pytest.raises(ModelFileError, match="another config"):
        train(make_config(store, tmp_path / "run", init=str(other), frozen=["trunk"]))


def test_a_run_starts_from_a_checkpoint_s_weights(
    store: Path, model: Path, tmp_path: Path
) -> None:
    checkpoint = model.parent / "checkpoint.pt"
    kept = torch.load(checkpoint, weights_only=True)["network"]
    config = make_config(store, tmp_path / "run", init=str(checkpoint), seed=5)
    network = prepare_run(config).network
    for name, value in network.state_dict().items():
        assert torch.equal(value, kept[name]), name
    train(config)
    card = (tmp_path / "run" / "README.md").read_text()
    assert "started from a checkpoint of step 3" in card
    wide = {"width": 1 / 8, "embedding_size": 8}
    with pytest.raises(ModelFileError, match=r"it holds a checkpoint of step 3$"):
        train(make_config(store, tmp_path / "w", init=str(checkpoint), network=wide))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"network": {"width": 1 / 8, "embedding_size": 8}},
            r"trunk.0.weight is \[2, 3, 3, 3\] there and \[4, 3, 3, 3\] here; "
            r"it holds resnet27 width=0.0625",
        ),
        (
            {
                "network": {
                    "width": 1 / 16,
                    "embedding_size": 8,
                    "normalised_embedding": True,
                }
            },
            "embedding_norm.weight is missing there",
        ),
        ({"init": "nothing.safetensors"}, "no model file"),
    ],
    ids=["width", "norm", "missing"],
)
def test_another_network_s_weights_are_refused(
    store: Path, model: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelFileError, match=said) as refusal:
        train(make_config(store, tmp_path / "run", **({"init": str(model)} | changes)))
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("frozen", "said"),
    [
        (["trunk.99"], "got 'trunk.99'; they are trunk, trunk.0, "),
        (["trun"], "got 'trun'"),
        ([""], "got ''"),
        (["trunk", "fc5"], "must leave a part"),
    ],
    ids=str,
)
def test_what_cannot_be_frozen(
    store: Path, tmp_path: Path, frozen: list[str], said: str
) -> None:
    with pytest.raises(ParameterError, match=said) as refusal:
        train(make_config(store, tmp_path / "run", frozen=frozen))
    assert "\n" not in str(refusal.value)


def test_kept_checkpoints_hold_the_steps_they_name(store: Path, tmp_path: Path) -> None:
    config = make_config(
        store, tmp_path / "run", checkpoint_every=1, keep_last=2, milestones=[1]
    )
    train(config)
    # A milestone that a kill took before it got its name comes back on resume.
    (tmp_path / "run" / "model.safetensors").unlink()
    (tmp_path / "run" / "checkpoint-00000003.pt").unlink()
    train(config)
    found = {
        path.name: torch.load(path, weights_only=True)["step"]
        for path in (tmp_path / "run").glob("*.pt")
    }
    numbered = {f"checkpoint-0000000{step}.pt": step for step in (1, 2, 3)}
    assert found == numbered | {"checkpoint.pt": 3}
