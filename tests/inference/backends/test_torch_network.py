"""Networks of facever's own, made fast: folded, in the kernels' order, in bfloat16."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from facever.faces.templates import TEMPLATES
from facever.hardware import has_bf16_units
from facever.inference.backends.torch_network import TorchNetwork, fold_batch_norms
from facever.inference.header import ModelHeader, crop_fields
from facever.inference.parity import cosines, drawn_crops
from facever.inference.preprocessing import Preprocessing
from facever.models import NETWORKS, build_network
from facever.models.base import EmbeddingNetwork

BF16 = ["bf16"] if has_bf16_units("cpu") else []

# One of each kind; the deeper ones are made of the same parts.
KINDS = [
    name
    for name in NETWORKS
    if name not in ("iresnet34", "iresnet50", "iresnet100", "iresnet200")
    and name not in ("ir_50", "ir_101")
]


def trained(name: str) -> EmbeddingNetwork:
    """A network whose normalisations are not the identity."""
    torch.manual_seed(len(name))
    network = build_network(name, {"width": 1 / 16} if name == "resnet27" else {})
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.normal_(part.running_mean, std=0.1)
            if part.weight is not None:
                nn.init.uniform_(part.weight, 0.5, 1)
                nn.init.normal_(part.bias, std=0.1)
    return network.eval()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("precision", ["fp32", *BF16])
def test_features_are_those_of_the_network(name: str, precision: str) -> None:
    network = trained(name)
    template = TEMPLATES[network.template]
    header = ModelHeader(name, {}, network.embedding_size, **crop_fields(template))
    crops = drawn_crops(template, 3)
    before = copy.deepcopy(network.state_dict())
    started = TorchNetwork(network, Preprocessing()).start(
        header, "cpu", precision, "auto"
    )
    found = started.compute(crops, True)
    assert found.shape == (2, 3, network.embedding_size)
    for features, views in zip(found, (crops, crops[:, :, ::-1]), strict=True):
        images = torch.from_numpy(views.copy()).permute(0, 3, 1, 2)
        with torch.no_grad():
            expected = network((images.float() - 127.5) / 128).numpy()
        if precision == "fp32":
            atol = 2e-5 * np.abs(expected).max()
            np.testing.assert_allclose(features, expected, atol=atol)
        else:
            assert cosines(features, expected).min() > 0.9995
            assert np.abs(features - expected).max() > 0
    assert (started.backend, started.precision) == ("torch", precision)
    # The network itself has not been changed: a run may go on training it.
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_a_normalisation_goes_into_the_layer_before_it_by_hand() -> None:
    """w' = w g / sqrt(v + eps), b' = (b - m) g / sqrt(v + eps) + beta."""
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)).eval()
    convolution, norm = network
    for tensor, value in (
        (convolution.weight, 3.0),
        (convolution.bias, 1.0),
        (norm.weight, 2.0),
        (norm.bias, 5.0),
        (norm.running_mean, 7.0),
        (norm.running_var, 4.0),
    ):
        nn.init.constant_(tensor, value)
    folded = fold_batch_norms(network)
    [left] = [part for part in folded.modules() if isinstance(part, nn.Conv2d)]
    assert left.weight.item() == 3 * 2 / 2
    assert left.bias.item() == (1 - 7) * 2 / 2 + 5
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())


class _Used(nn.Module):
    """A convolution whose output goes round the normalisation, too."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.convolution(images)
        return maps + self.norm(maps)


@pytest.mark.parametrize(
    "network",
    [
        _Used(),
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)),
    ],
    ids=["used twice", "before", "after another", "without weights"],
)
def test_folding_never_changes_the_function(network: nn.Module) -> None:
    torch.manual_seed(0)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.normal_(part.running_mean)
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(
            fold_batch_norms(network)(images), network.eval()(images)
        )
