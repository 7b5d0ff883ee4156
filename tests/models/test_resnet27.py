import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facever.errors import ParameterError
from facever.models import build_network
from facever.models.resnet27 import PooledReLU, ResidualUnit, ResNet27

# Table 5 of the paper: type, output size, convolutions in it, thousands of parameters
# as printed (their decimals cut off, not rounded).
TABLE_5 = [
    ("Conv0", "Conv2d", (110, 94, 32), 1, 0.86),
    ("Conv1", "Conv2d", (108, 92, 64), 1, 18),
    ("Pool1", "PooledReLU", (54, 46, 64), 0, 0),
    ("Resblock1", "ResidualUnit", (54, 46, 64), 2, 73),
    ("Conv2", "Conv2d", (52, 44, 128), 1, 73),
    ("Pool2", "PooledReLU", (26, 22, 128), 0, 0),
    ("Resblock2", "ResidualUnit", (26, 22, 128), 2, 294),
    ("Resblock3", "ResidualUnit", (26, 22, 128), 2, 294),
    ("Conv3", "Conv2d", (24, 20, 256), 1, 294),
    ("Pool3", "PooledReLU", (12, 10, 256), 0, 0),
    ("Resblock4", "ResidualUnit", (12, 10, 256), 2, 1179),
    ("Resblock5", "ResidualUnit", (12, 10, 256), 2, 1179),
    ("Resblock6", "ResidualUnit", (12, 10, 256), 2, 1179),
    ("Resblock7", "ResidualUnit", (12, 10, 256), 2, 1179),
    ("Resblock8", "ResidualUnit", (12, 10, 256), 2, 1179),
    ("Conv4", "Conv2d", (10, 8, 512), 1, 1179),
    ("Pool4", "PooledReLU", (5, 4, 512), 0, 0),
    ("Resblock9", "ResidualUnit", (5, 4, 512), 2, 4718),
    ("Resblock10", "ResidualUnit", (5, 4, 512), 2, 4718),
    ("Resblock11", "ResidualUnit", (5, 4, 512), 2, 4718),
    ("Fc5", "Linear", (512,), 1, 5242),
]
Row = tuple[str, tuple[int, ...], int, int]


def walk(network: ResNet27) -> list[Row]:
    """The layers in the order of use: type, output size, convolutions, weights."""
    rows: list[Row] = []

    def note(module: nn.Module, _: object, output: Tensor) -> None:
        size = tuple(output.shape[1:])
        weights = [
            part.weight.numel()
            for part in module.modules()
            if isinstance(part, nn.Conv2d | nn.Linear)
        ]
        size = (*size[1:], size[0]) if len(size) == 3 else size
        rows.append((type(module).__name__, size, len(weights), sum(weights)))

    inside = {
        part
        for unit in network.modules()
        if isinstance(unit, ResidualUnit)
        for part in unit.modules()
        if part is not unit
    }
    for module in network.modules():
        if module not in inside and isinstance(
            module, nn.Conv2d | nn.MaxPool2d | ResidualUnit | nn.Linear
        ):
            module.register_forward_hook(note)
    network(torch.empty(2, 3, 112, 96, device="meta"))
    return rows


def meta(**options: object) -> ResNet27:
    """A network of shapes alone: nothing is computed."""
    with torch.device("meta"):
        return ResNet27(**options)  # type: ignore[arg-type]


def test_every_row_of_table_5() -> None:
    rows = walk(meta())
    assert len(rows) == len(TABLE_5)
    for row, (name, kind, size, depth, thousands) in zip(rows, TABLE_5, strict=True):
        assert row[:3] == (kind, size, depth), name
        cut = row[3] // 10 / 100 if row[3] < 1000 else row[3] // 1000
        assert cut == thousands, name


def test_27_convolutions_without_bias_each_normalised() -> None:
    network = meta()
    convolutions = [each for each in network.modules() if isinstance(each, nn.Conv2d)]
    norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
    assert len(convolutions) == len(norms) == 27
    assert all(each.bias is None for each in convolutions)
    assert all(each.kernel_size == (3, 3) for each in convolutions)
    assert network.fc5.bias is None


def test_paper_p_widens_conv1_to_conv4_alone() -> None:
    wide = walk(meta(width=2.0, narrow_stem=True))
    for row, (name, kind, size, _, _) in zip(wide, TABLE_5, strict=True):
        factor = 1 if name in ("Conv0", "Fc5") else 2
        assert row[:2] == (kind, (*size[:-1], factor * size[-1])), name
    # Conv1: 3 * 3 * 32 * 128; a unit of Resblock9: 2 * 3 * 3 * 1024 * 1024.
    assert wide[1][3] == 36_864
    assert wide[17][3] == 18_874_368
    assert walk(meta(width=2.0))[0][1] == (110, 94, 64)


@pytest.mark.parametrize(
    ("width", "channels"),
    [
        (1 / 16, [2, 4, 8, 16, 32]),
        (0.3, [10, 19, 38, 77, 154]),
        (0.5, [16, 32, 64, 128, 256]),
    ],
)
def test_width_scales_every_depth(width: float, channels: list[int]) -> None:
    rows = walk(meta(width=width))
    assert [row[1][-1] for row in rows if row[0] == "Conv2d"] == channels


def conv(maps: np.ndarray, weight: np.ndarray, padding: int) -> np.ndarray:
    """[C, H, W] by [O, C, 3, 3]: a sum of nine shifted products."""
    maps = np.pad(maps, ((0, 0), (padding, padding), (padding, padding)))
    height, width = maps.shape[1] - 2, maps.shape[2] - 2
    return sum(
        np.einsum(
            "oc,chw->ohw",
            weight[:, :, dy, dx],
            maps[:, dy : dy + height, dx : dx + width],
        )
        for dy in range(3)
        for dx in range(3)
    )


def oracle(crop: np.ndarray, network: ResNet27) -> np.ndarray:
    """The network in use, from its weights in the order of the table."""
    weights = {
        key: value.double().numpy() for key, value in network.state_dict().items()
    }
    convs = [key for key, value in weights.items() if value.ndim == 4]
    scales = [key for key in weights if key.endswith("running_mean")]
    pairs = iter(zip(convs, scales, strict=True))

    def layer(maps: np.ndarray, padding: int) -> np.ndarray:
        key, norm = next(pairs)
        norm = norm.removesuffix("running_mean")
        maps = conv(maps, weights[key], padding)
        spread = np.sqrt(weights[norm + "running_var"] + 1e-5)
        maps = (maps - weights[norm + "running_mean"][:, None, None]) / spread[
            :, None, None
        ]
        gain = weights[norm + "weight"][:, None, None]
        return maps * gain + weights[norm + "bias"][:, None, None]

    maps = np.maximum(layer(crop, 0), 0)
    for num_units in (1, 2, 5, 3):
        maps = np.maximum(layer(maps, 0), 0)
        channels, height, width = maps.shape
        maps = maps.reshape(channels, height // 2, 2, width // 2, 2).max((2, 4))
        for _ in range(num_units):
            inner = np.maximum(layer(maps, 1), 0)
            maps = np.maximum(maps + layer(inner, 1), 0)
    return weights["fc5.weight"] @ maps.reshape(-1)


@pytest.fixture(scope="module")
def trained() -> ResNet27:
    """A narrow network whose norms are no longer at their first values."""
    torch.manual_seed(0)
    network = ResNet27(width=1 / 16, embedding_size=24)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.3, 1)
            nn.init.normal_(module.bias, std=0.3)
    return network.eval()


@torch.no_grad()
def test_forward_is_the_paper_in_numpy(trained: ResNet27) -> None:
    crops = torch.rand(2, 3, 112, 96) * 2 - 1
    found = trained(crops).numpy()
    assert found.shape == (2, 24)
    for crop, embedding in zip(crops.double().numpy(), found, strict=True):
        expected = oracle(crop, trained)
        atol = 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(embedding, expected, atol=atol)


@torch.no_grad()
def test_channels_last_changes_nothing(trained: ResNet27) -> None:
    crops = torch.rand(2, 3, 112, 96)
    expected = trained(crops)
    network = ResNet27(width=1 / 16, embedding_size=24).eval()
    network.load_state_dict(trained.state_dict())
    network.to(memory_format=torch.channels_last)
    found = network(crops.to(memory_format=torch.channels_last))
    atol = 1e-4 * float(expected.abs().max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_normalised_embedding_is_an_option_behind_fc5() -> None:
    plain, normalised = meta(), meta(normalised_embedding=True)
    extra = set(normalised.state_dict()) - set(plain.state_dict())
    assert {name.split(".")[0] for name in extra} == {"embedding_norm"}
    torch.manual_seed(0)
    network = ResNet27(width=1 / 16, embedding_size=8, normalised_embedding=True)
    embeddings = network(torch.randn(6, 3, 112, 96)).detach()
    np.testing.assert_allclose(embeddings.mean(dim=0), np.zeros(8), atol=1e-4)


def test_embedding_size_is_the_networks_and_the_last_layers() -> None:
    network = meta(embedding_size=77)
    assert network.embedding_size == 77
    assert walk(network)[-1][1] == (77,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.0}, r"width must be in \[1/16, 16\], got 0\.0"),
        ({"width": 17.0}, r"width must be in \[1/16, 16\], got 17\.0"),
        ({"width": float("nan")}, r"width must be in \[1/16, 16\], got nan"),
        ({"embedding_size": 0}, "embedding_size must be >= 1, got 0"),
        ({"depth": 3}, "resnet27: .*'depth'"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        build_network("resnet27", options)


def test_an_unknown_network_lists_the_known() -> None:
    with pytest.raises(ParameterError, match=r"'resnet28'; known are .*resnet27"):
        build_network("resnet28", {})


def test_residual_units_begin_as_the_identity() -> None:
    network = ResNet27(width=1 / 16, embedding_size=8)
    units = [unit for unit in network.modules() if isinstance(unit, ResidualUnit)]
    assert len(units) == 1 + 2 + 5 + 3
    for unit in units:
        maps = torch.rand(2, unit.residual[0].in_channels, 5, 4)
        assert torch.equal(unit(maps), maps)


@pytest.mark.parametrize("training", [True, False])
def test_pool_and_relu_are_those_of_torch_bit_for_bit(training: bool) -> None:
    # Whole numbers bring ties, zeros and windows without a positive number.
    torch.manual_seed(0)
    maps = torch.randint(-3, 4, (4, 8, 13, 10)).float()
    theirs, ours = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    expected = nn.functional.max_pool2d(nn.functional.relu(theirs), 2)
    pooled = PooledReLU(2).train(training)(ours * 1)
    slopes = torch.randn_like(expected)
    expected.backward(slopes)
    pooled.backward(slopes)
    assert torch.equal(pooled, expected)
    assert torch.equal(ours.grad, theirs.grad)
