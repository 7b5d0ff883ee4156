"""Networks whose weights others publish: names, shapes, and what they compute."""

import facenet_pytorch
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from facever.errors import ParameterError
from facever.models import NETWORKS, build_network


def meta(name: str, **options: object) -> nn.Module:
    """A network of shapes alone: nothing is computed."""
    with torch.device("meta"):
        return build_network(name, options)


def num_weights(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_crop_of_the_template_gives_an_embedding_of_the_size(name: str) -> None:
    network = meta(name, embedding_size=77)
    height, width = map(int, network.template.split("x"))
    images = torch.empty(2, 3, height, width, device="meta")
    assert network(images).shape == (2, 77)
    assert network.embedding_size == 77


@pytest.mark.parametrize("name", NETWORKS)
def test_option_weights_tell_the_options(name: str) -> None:
    kind = NETWORKS[name]
    options = {option: 3 + step for step, option in enumerate(kind.option_weights)}
    weights = meta(name, **options).state_dict()
    assert "embedding_size" in options
    for option, (weight, unit) in kind.option_weights.items():
        assert len(weights[weight]) == options[option] * unit


@pytest.mark.parametrize(
    ("name", "template", "count"),
    [
        ("iresnet18", "112x112", 24_025_600),
        ("iresnet34", "112x112", 34_139_328),
        ("iresnet50", "112x112", 43_590_848),
        ("iresnet100", "112x112", 65_156_160),
        ("iresnet200", "112x112", 118_833_920),
        ("ir_18", "112x112", 24_020_352),
        ("ir_50", "112x112", 43_585_600),
        ("ir_101", "112x112", 65_150_912),
        ("mobilefacenet", "112x112", 2_059_520),
        ("mobilefacenet_treb1en", "112x112", 1_200_512),
        ("mobilefacenet_xiaoccer", "112x96", 999_552),
        ("inception_resnet_v1", "160x160", 23_482_624),
    ],
)
def test_template_and_count_of_the_originals(
    name: str, template: str, count: int
) -> None:
    network = meta(name)
    assert network.template == template
    assert num_weights(network) == count


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("iresnet18", (2, 2, 2, 2)),
        ("iresnet34", (3, 4, 6, 3)),
        ("iresnet50", (3, 4, 14, 3)),
        ("iresnet100", (3, 13, 30, 3)),
        ("iresnet200", (6, 26, 60, 6)),
    ],
)
def test_iresnet_counted_on_paper(name: str, units: tuple[int, ...]) -> None:
    count = 3 * 64 * 9 + 3 * 64
    inputs = 64
    for outputs, number in zip((64, 128, 256, 512), units, strict=True):
        first = 9 * inputs * outputs + 9 * outputs**2 + 2 * inputs + 5 * outputs
        projection = inputs * outputs + 2 * outputs
        count += first + projection + (number - 1) * (18 * outputs**2 + 7 * outputs)
        inputs = outputs
    assert num_weights(meta(name)) == count + 2 * 512 + (512 * 49 + 1) * 512 + 2 * 512


# Of each published file, some names with their shapes, and how many names it has.
PUBLISHED: dict[str, tuple[int, dict[str, tuple[int, ...]]]] = {
    "iresnet50": (
        7 + 24 * 18 + 4 * 6 + 5 + 2 + 5,
        {
            "conv1.weight": (64, 3, 3, 3),
            "bn1.running_var": (64,),
            "prelu.weight": (64,),
            "layer1.0.downsample.0.weight": (64, 64, 1, 1),
            "layer1.0.downsample.1.weight": (64,),
            "layer2.0.bn1.weight": (64,),
            "layer2.0.conv1.weight": (128, 64, 3, 3),
            "layer2.0.bn2.bias": (128,),
            "layer2.0.prelu.weight": (128,),
            "layer3.13.conv2.weight": (256, 256, 3, 3),
            "layer4.2.bn3.num_batches_tracked": (),
            "bn2.weight": (512,),
            "fc.weight": (512, 25088),
            "fc.bias": (512,),
            "features.weight": (512,),
            "features.running_mean": (512,),
        },
    ),
    "ir_50": (
        7 + 24 * 18 + 3 * 6 + 5 + 2 + 3,
        {
            "input_layer.0.weight": (64, 3, 3, 3),
            "input_layer.1.running_mean": (64,),
            "input_layer.2.weight": (64,),
            "body.0.res_layer.0.weight": (64,),
            "body.0.res_layer.1.weight": (64, 64, 3, 3),
            "body.3.shortcut_layer.0.weight": (128, 64, 1, 1),
            "body.3.shortcut_layer.1.weight": (128,),
            "body.3.res_layer.3.weight": (128,),
            "body.23.res_layer.4.weight": (512, 512, 3, 3),
            "body.23.res_layer.5.bias": (512,),
            "output_layer.0.weight": (512,),
            "output_layer.3.weight": (512, 25088),
            "output_layer.3.bias": (512,),
            "output_layer.4.running_var": (512,),
        },
    ),
    "mobilefacenet": (
        14 + 15 * 20 + 7 + 6 + 1 + 5,
        {
            "layers.0.layers.0.weight": (128, 3, 3, 3),
            "layers.0.layers.2.weight": (128,),
            "layers.1.layers.0.weight": (128, 2, 3, 3),
            "layers.2.layers.0.layers.0.weight": (128, 128, 1, 1),
            "layers.2.layers.1.layers.0.weight": (128, 1, 3, 3),
            "layers.2.layers.2.layers.1.running_mean": (128,),
            "layers.3.layers.3.layers.2.layers.0.weight": (128, 128, 1, 1),
            "layers.4.layers.2.layers.0.weight": (256, 256, 1, 1),
            "layers.6.layers.1.layers.0.weight": (512, 1, 3, 3),
            "layers.7.layers.1.layers.0.layers.0.weight": (256, 256, 1, 1),
            "conv_sep.layers.0.weight": (512, 256, 1, 1),
            "features.layers.0.layers.0.weight": (512, 1, 7, 7),
            "features.layers.2.weight": (512, 512),
            "features.layers.3.bias": (512,),
        },
    ),
    "mobilefacenet_treb1en": (
        14 + 15 * 20 + 7 + 6 + 1 + 5,
        {
            "conv1.conv.weight": (64, 3, 3, 3),
            "conv2_dw.conv.weight": (64, 1, 3, 3),
            "conv2_dw.prelu.weight": (64,),
            "conv_23.conv.conv.weight": (128, 64, 1, 1),
            "conv_23.conv_dw.conv.weight": (128, 1, 3, 3),
            "conv_23.project.bn.running_var": (64,),
            "conv_3.model.3.project.conv.weight": (64, 128, 1, 1),
            "conv_45.conv_dw.prelu.weight": (512,),
            "conv_5.model.1.conv.conv.weight": (256, 128, 1, 1),
            "conv_6_sep.conv.weight": (512, 128, 1, 1),
            "conv_6_dw.conv.weight": (512, 1, 7, 7),
            "linear.weight": (512, 512),
            "bn.weight": (512,),
        },
    ),
    "mobilefacenet_xiaoccer": (
        14 + 15 * 20 + 7 + 6 + 6,
        {
            "conv1.conv.weight": (64, 3, 3, 3),
            "dw_conv1.conv.weight": (64, 1, 3, 3),
            "dw_conv1.bn.bias": (64,),
            "blocks.0.conv.0.weight": (128, 64, 1, 1),
            "blocks.0.conv.3.weight": (128, 1, 3, 3),
            "blocks.0.conv.5.weight": (128,),
            "blocks.0.conv.7.running_mean": (64,),
            "blocks.5.conv.6.weight": (128, 256, 1, 1),
            "blocks.12.conv.0.weight": (512, 128, 1, 1),
            "blocks.14.conv.6.weight": (128, 256, 1, 1),
            "conv2.prelu.weight": (512,),
            "linear7.conv.weight": (512, 1, 7, 6),
            "linear1.conv.weight": (128, 512, 1, 1),
            "linear1.bn.weight": (128,),
        },
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_of_published_weights(name: str) -> None:
    count, expected = PUBLISHED[name]
    weights = meta(name).state_dict()
    found = {each: tuple(weights[each].shape) for each in expected if each in weights}
    assert found == expected
    assert len(weights) == count


def test_layers_without_weights_have_no_names() -> None:
    iresnet, ir = meta("iresnet18").state_dict(), meta("ir_18").state_dict()
    assert not any(name.startswith("layer1.1.downsample") for name in iresnet)
    assert not any(name.startswith("body.0.shortcut_layer") for name in ir)
    assert "output_layer.4.weight" not in ir


def as_if_trained(name: str, **options: object) -> nn.Module:
    """Random values everywhere, norms and slopes too, in evaluation mode."""
    torch.manual_seed(0)
    network = build_network(name, options)
    for weight, value in network.state_dict().items():
        if weight.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif value.ndim == 1:
            value.uniform_(-0.4, 1)
        elif value.ndim > 1:
            value.normal_(std=(1.5 / value[0].numel()) ** 0.5)
    return network.eval()


class Oracle:
    """A network's layers as functions of its state dict, in float64."""

    def __init__(self, network: nn.Module) -> None:
        self.of = {name: each.double() for name, each in network.state_dict().items()}

    def conv(
        self, maps: Tensor, name: str, stride: int = 1, padding: int = 0
    ) -> Tensor:
        weight = self.of[f"{name}.weight"]
        groups = maps.shape[1] // weight.shape[1]
        return functional.conv2d(maps, weight, None, stride, padding, groups=groups)

    def norm(self, maps: Tensor, name: str) -> Tensor:
        def along(part: str) -> Tensor:
            return self.of[f"{name}.{part}"].reshape(1, -1, *[1] * (maps.ndim - 2))

        scaled = (maps - along("running_mean")) / (along("running_var") + 1e-5).sqrt()
        if f"{name}.weight" in self.of:
            scaled = scaled * along("weight") + along("bias")
        return scaled

    def prelu(self, maps: Tensor, name: str) -> Tensor:
        slope = self.of[f"{name}.weight"].reshape(1, -1, 1, 1)
        return maps.clamp(min=0) + slope * maps.clamp(max=0)

    def same_as(self, found: Tensor, expected: Tensor) -> None:
        spread = float(expected.abs().max())
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5 * spread)


@torch.no_grad()
def test_iresnet_in_functions() -> None:
    network = as_if_trained("iresnet18", embedding_size=24)
    oracle = Oracle(network)
    images = torch.rand(2, 3, 112, 112) * 2 - 1

    def unit(maps: Tensor, place: str, stride: int) -> Tensor:
        inner = oracle.norm(maps, f"{place}.bn1")
        inner = oracle.norm(
            oracle.conv(inner, f"{place}.conv1", padding=1), f"{place}.bn2"
        )
        inner = oracle.prelu(inner, f"{place}.prelu")
        inner = oracle.conv(inner, f"{place}.conv2", stride=stride, padding=1)
        if stride == 2:
            maps = oracle.conv(maps, f"{place}.downsample.0", stride=2)
            maps = oracle.norm(maps, f"{place}.downsample.1")
        return oracle.norm(inner, f"{place}.bn3") + maps

    maps = oracle.norm(oracle.conv(images.double(), "conv1", padding=1), "bn1")
    maps = oracle.prelu(maps, "prelu")
    for layer in (1, 2, 3, 4):
        maps = unit(unit(maps, f"layer{layer}.0", 2), f"layer{layer}.1", 1)
    places = oracle.norm(maps, "bn2").reshape(2, 512 * 7 * 7)
    embeddings = places @ oracle.of["fc.weight"].T + oracle.of["fc.bias"]
    oracle.same_as(network(images), oracle.norm(embeddings, "features"))


@torch.no_grad()
def test_adaface_ir_in_functions() -> None:
    network = as_if_trained("ir_18", embedding_size=24)
    oracle = Oracle(network)
    images = torch.rand(2, 3, 112, 112) * 2 - 1

    def unit(maps: Tensor, number: int) -> Tensor:
        part = f"body.{number}.res_layer."
        inner = oracle.conv(oracle.norm(maps, f"{part}0"), f"{part}1", padding=1)
        inner = oracle.prelu(oracle.norm(inner, f"{part}2"), f"{part}3")
        inner = oracle.conv(inner, f"{part}4", stride=2 - number % 2, padding=1)
        inner = oracle.norm(inner, f"{part}5")
        if number in (2, 4, 6):
            maps = oracle.conv(maps, f"body.{number}.shortcut_layer.0", stride=2)
            maps = oracle.norm(maps, f"body.{number}.shortcut_layer.1")
        if number == 0:
            maps = maps[:, :, ::2, ::2]
        return inner + maps

    maps = oracle.conv(images.double(), "input_layer.0", padding=1)
    maps = oracle.prelu(oracle.norm(maps, "input_layer.1"), "input_layer.2")
    for number in range(8):
        maps = unit(maps, number)
    places = oracle.norm(maps, "output_layer.0").reshape(2, 512 * 7 * 7)
    embeddings = places @ oracle.of["output_layer.3.weight"].T
    embeddings = embeddings + oracle.of["output_layer.3.bias"]
    oracle.same_as(network(images), oracle.norm(embeddings, "output_layer.4"))


def mobilefacenet(oracle: Oracle, images: Tensor) -> Tensor:
    """Table 1 of the paper up to the last depthwise layer, its weights in order."""
    convolutions = iter([name for name, each in oracle.of.items() if each.ndim == 4])
    norms = iter([name for name in oracle.of if name.endswith(".running_mean")])
    slopes = iter(
        [
            name
            for name, each in oracle.of.items()
            if each.ndim == 1
            and name.endswith(".weight")
            and name.replace("weight", "running_mean") not in oracle.of
        ]
    )

    def layer(maps: Tensor, stride: int, padding: int, activated: bool) -> Tensor:
        name = next(convolutions).removesuffix(".weight")
        maps = oracle.conv(maps, name, stride, padding)
        maps = oracle.norm(maps, next(norms).removesuffix(".running_mean"))
        if activated:
            maps = oracle.prelu(maps, next(slopes).removesuffix(".weight"))
        return maps

    maps = layer(layer(images.double(), 2, 1, True), 1, 1, True)
    for followers in (4, 6, 2):
        for number in range(1 + followers):
            inner = layer(maps, 1, 0, True)
            inner = layer(inner, 2 if number == 0 else 1, 1, True)
            inner = layer(inner, 1, 0, False)
            maps = inner if number == 0 else maps + inner
    return layer(layer(maps, 1, 0, True), 1, 0, False)


@pytest.mark.parametrize("width", [1, 2, 4])
@torch.no_grad()
def test_mobilefacenet_of_insightface_in_functions(width: int) -> None:
    network = as_if_trained("mobilefacenet", embedding_size=24, width=width)
    oracle = Oracle(network)
    images = torch.rand(2, 3, 112, 112) * 2 - 1
    channels = mobilefacenet(oracle, images).reshape(2, 512)
    embeddings = channels @ oracle.of["features.layers.2.weight"].T
    oracle.same_as(network(images), oracle.norm(embeddings, "features.layers.3"))


@torch.no_grad()
def test_mobilefacenet_of_treb1en_in_functions() -> None:
    network = as_if_trained("mobilefacenet_treb1en", embedding_size=24)
    oracle = Oracle(network)
    images = torch.rand(2, 3, 112, 112) * 2 - 1
    channels = mobilefacenet(oracle, images).reshape(2, 512)
    embeddings = oracle.norm(channels @ oracle.of["linear.weight"].T, "bn")
    lengths = embeddings.square().sum(dim=1, keepdim=True).sqrt()
    oracle.same_as(network(images), embeddings / lengths)


@torch.no_grad()
def test_mobilefacenet_of_xiaoccer_in_functions() -> None:
    network = as_if_trained("mobilefacenet_xiaoccer", embedding_size=24)
    oracle = Oracle(network)
    images = torch.rand(2, 3, 112, 96) * 2 - 1
    maps = oracle.conv(mobilefacenet(oracle, images), "linear1.conv")
    oracle.same_as(network(images), oracle.norm(maps, "linear1.bn").reshape(2, 24))


@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_inception_resnet_v1_is_the_packages(training: bool) -> None:
    network = as_if_trained("inception_resnet_v1").train(training)
    original = facenet_pytorch.InceptionResnetV1(pretrained=None).train(training)
    original.load_state_dict(network.state_dict())
    images = torch.rand(3, 3, 160, 160) * 2 - 1
    found = []
    for each in (network, original):
        torch.manual_seed(1)  # Of dropout.
        found.append(each(images))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    torch.testing.assert_close(found[0].norm(dim=1), torch.ones(3))


@pytest.mark.parametrize(
    "name", ["ir_18", "mobilefacenet_xiaoccer", "mobilefacenet_treb1en"]
)
def test_every_weight_learns(name: str) -> None:
    network = build_network(name, {"embedding_size": 8})
    height, width = map(int, network.template.split("x"))
    network(torch.randn(3, 3, height, width)).pow(3).sum().backward()
    for weight, each in network.named_parameters():
        assert each.grad is not None, weight
        assert each.grad.any(), weight


def test_the_last_scale_of_iresnet_stays_1() -> None:
    network = build_network("iresnet18", {"embedding_size": 8})
    fixed = [
        name for name, each in network.named_parameters() if not each.requires_grad
    ]
    assert fixed == ["features.weight"]
    assert torch.equal(network.get_parameter("features.weight"), torch.ones(8))


@pytest.mark.parametrize("name", ["iresnet18", "ir_18", "inception_resnet_v1"])
def test_dropout_is_an_option(name: str) -> None:
    network = meta(name, dropout=0.25)
    found = [each.p for each in network.modules() if isinstance(each, nn.Dropout)]
    assert found == [0.25]
    for wrong in (-0.1, 1.0, float("nan")):
        with pytest.raises(ParameterError, match=rf"dropout .* \[0, 1\), got {wrong}"):
            meta(name, dropout=wrong)


def test_a_width_below_1_is_named() -> None:
    with pytest.raises(ParameterError, match="width must be >= 1, got 0"):
        build_network("mobilefacenet", {"width": 0})
