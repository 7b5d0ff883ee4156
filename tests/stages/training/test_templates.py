"""Networks of other projects in training: their crops, their weights, their work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facever.config.training import TrainConfig
from facever.data.store.writer import CropWriter
from facever.errors import MismatchError
from facever.faces.templates import TEMPLATES
from facever.inference.formats.safetensors_file import save_model
from facever.inference.header import ModelHeader, crop_fields
from facever.inference.model_file import load_model
from facever.inference.preprocessing import Preprocessing
from facever.models import NETWORKS, build_network
from facever.stages.training.dry_run import dry_run
from facever.stages.training.setup import prepare_run
from facever.stages.training.train import train

NARROW = {"name": "mobilefacenet_xiaoccer", "embedding_size": 8}
WIDE = {"name": "mobilefacenet", "embedding_size": 8, "width": 1}


def make_config(store: Path, out: Path, **changes: Any) -> TrainConfig:
    content: dict[str, Any] = {
        "data": {"crops": str(store)},
        "optimiser": {"learning_rate": 0.01},
        "schedule": {"steps": 2, "shape": "cosine"},
        "batch_size": 6,
        "precision": "fp32",
        "device": "cpu",
        "out": str(out),
    }
    return TrainConfig.model_validate(content | changes)


@pytest.fixture(scope="module")
def wide_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve crops of 112x112 of three people."""
    folder = tmp_path_factory.mktemp("wide") / "crops"
    crops = np.random.default_rng(0).integers(0, 256, (12, 112, 112, 3), np.uint8)
    listing = [(f"P{row % 3}/{row}.png", f"P{row % 3}") for row in range(12)]
    settings = {"template": TEMPLATES["112x112"].description}
    with CropWriter(folder, settings, listing) as writer:
        for (source, _), crop in zip(listing, crops, strict=True):
            unknown = np.full((1, 5, 2), np.nan)
            writer.add(source, crop[None], unknown, np.array([np.nan]))
        writer.finish()
    return folder


@pytest.mark.parametrize(
    ("network", "template"), [(WIDE, "112x112"), (NARROW, "112x96")]
)
def test_a_network_trains_on_the_crops_of_its_template(
    network: dict[str, Any], template: str, wide_store: Path, tmp_path: Path
) -> None:
    path = train(make_config(wide_store, tmp_path / "run", network=network)).model
    model = load_model(path)
    assert model.template is TEMPLATES[template]
    assert model.header.network == network["name"]
    fresh = build_network(network["name"], dict(list(network.items())[1:]))
    assert isinstance(model.network.module, type(fresh))


def test_narrow_crops_are_refused_where_wide_ones_are_taken(
    make_store: Callable[..., Path], tmp_path: Path
) -> None:
    store = make_store(tmp_path / "crops", (4, 3, 5))
    with pytest.raises(MismatchError, match=r"the model takes 112x112 .* --template"):
        train(make_config(store, tmp_path / "run", network=WIDE))


@torch.no_grad()
def test_weights_that_take_bgr_go_on_with_rgb(wide_store: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    name, options = WIDE["name"], {"embedding_size": 8, "width": 1}
    header = ModelHeader(
        network=name,
        network_options=options,
        embedding_size=8,
        channel_order="BGR",
        **crop_fields(TEMPLATES["112x112"]),
    )
    network = build_network(name, options).eval()
    save_model(tmp_path / "bgr.safetensors", network, header)
    config = make_config(
        wide_store,
        tmp_path / "run",
        network=WIDE,
        init=str(tmp_path / "bgr.safetensors"),
    )
    run = prepare_run(config)
    crops = torch.from_numpy(np.stack([run.crops[row] for row in range(3)]))
    found = run.network.eval()(run.preprocessing(crops))
    expected = network(Preprocessing(channel_order="BGR")(crops))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert run.preprocessing.channel_order == "RGB"


@pytest.mark.parametrize("name", NETWORKS)
def test_the_first_convolution_takes_the_colours(name: str) -> None:
    with torch.device("meta"):
        weights = build_network(name, {}).state_dict().values()
    assert next(value for value in weights if value.ndim == 4).shape[1] == 3


def test_convolutions_in_groups_are_counted_by_hand(
    wide_store: Path, tmp_path: Path
) -> None:
    found = dry_run(make_config(wide_store, tmp_path / "run", network=NARROW))
    first = 27 * 64 * 56 * 48
    products = first + 9 * 64 * 56 * 48
    inputs, places = 64, 56 * 48
    for outputs, within, further, count in (
        (64, 128, 128, 4),
        (128, 256, 256, 6),
        (128, 512, 256, 2),
    ):
        products += inputs * within * places + (9 + outputs) * within * places // 4
        inputs, places = outputs, places // 4
        products += count * (2 * outputs + 9) * further * places
    products += 128 * 512 * 7 * 6 + 512 * 7 * 6 + 512 * 8
    # Forward, by the weights and by the input, which the pixels do not ask for.
    assert found.flops == 2 * (3 * products - first)
