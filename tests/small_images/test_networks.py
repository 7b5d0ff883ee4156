"""Networks for small images: sizes, layers and parameter counts."""

import pytest
import torch
from torch import nn

from facever.errors import ParameterError
from facever.small_images.networks import SMALL_IMAGE_NETWORKS
from facever.small_images.networks.cifar_resnet import ResNet18, ResNet20, ResNet34
from facever.small_images.networks.convnets import Cifar10Quick, ConvNet, LeNet
from facever.small_images.networks.wide_resnet import WideResNet


def count(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def with_classifier(network: nn.Module, num_classes: int) -> int:
    """Parameters with a linear classifier and its biases, which the papers count in."""
    return count(network) + num_classes * (network.embedding_size + 1)  # type: ignore[operator]


def test_lenet_counts_as_caffes() -> None:
    # conv1, conv2, ip1, ip2 of lenet_train_test.prototxt, weights and biases.
    by_hand = (25 * 20 + 20) + (25 * 20 * 50 + 50) + (800 * 500 + 500) + (500 * 10 + 10)
    assert with_classifier(LeNet(), 10) == by_hand == 431_080


def test_lenet_without_its_last_relu() -> None:
    images = torch.randn(50, 1, 28, 28)
    assert LeNet()(images).min() == 0
    assert LeNet(linear=True)(images).min() < 0


def test_quick_counts_as_caffes() -> None:
    by_hand = (75 * 32 + 32) + (800 * 32 + 32) + (800 * 64 + 64) + (1024 * 64 + 64)
    by_hand += 64 * 10 + 10
    assert with_classifier(Cifar10Quick(), 10) == by_hand == 145_578


@pytest.mark.parametrize(
    ("plan", "size", "image", "filters", "kernel"),
    [
        # Table 1, written out: filters of every convolution in turn.
        ("mnist-2d", 2, (1, 28), [32] * 2 + [64] * 2 + [128] * 2, 5),
        ("mnist", 256, (1, 28), [64] * 10, 3),
        ("cifar10", 256, (3, 32), [64] * 5 + [96] * 4 + [128] * 4, 3),
        ("cifar100", 512, (3, 32), [96] * 5 + [192] * 4 + [384] * 4, 3),
    ],
)
@pytest.mark.parametrize("caffe", [True, False])
def test_table_1(
    plan: str,
    size: int,
    image: tuple[int, int],
    filters: list[int],
    kernel: int,
    caffe: bool,
) -> None:
    network = ConvNet(
        plan=plan,  # type: ignore[arg-type]
        embedding_size=size,
        activation="prelu" if caffe else "relu",
        ceil_pools=caffe,
    )
    convolutions = [each for each in network.layers if isinstance(each, nn.Conv2d)]
    assert [each.out_channels for each in convolutions] == filters
    assert {each.kernel_size for each in convolutions} == {(kernel, kernel)}
    channels, side = image
    weights = 0
    for outputs in filters:
        # The kernel, scale and shift of batch normalisation, a slope of PReLU.
        weights += channels * outputs * kernel**2 + 2 * outputs + caffe * outputs
        channels = outputs
    places = {(28, True): 4, (28, False): 3, (32, True): 4, (32, False): 4}
    weights += places[side, caffe] ** 2 * channels * size + size
    assert count(network) == weights
    shown = network.eval()(torch.zeros(2, image[0], side, side))
    assert shown.shape == (2, size)


def test_width_is_a_factor_on_every_convolution() -> None:
    def filters(width: float) -> list[int]:
        layers = ConvNet(plan="cifar100", width=width).layers
        return [each.out_channels for each in layers if isinstance(each, nn.Conv2d)]

    assert filters(1.0) == [96, *[96] * 4, *[192] * 4, *[384] * 4]
    assert filters(0.5) == [each // 2 for each in filters(1.0)]
    with torch.inference_mode():
        network = ConvNet(plan="cifar100", width=0.26, embedding_size=7).eval()
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_dropout_stands_behind_the_first_two_pools() -> None:
    kinds = [type(each).__name__ for each in ConvNet(dropout=0.5).layers]
    assert kinds.count("Dropout") == 2
    pools = [place for place, kind in enumerate(kinds) if kind == "MaxPool2d"]
    assert [kinds[place + 1] for place in pools] == ["Dropout", "Dropout", "Flatten"]
    assert "Dropout" not in {type(each).__name__ for each in ConvNet().layers}


@pytest.mark.parametrize(
    ("network", "classes", "millions"),
    [
        # He et al. 2015, Table 6; Zagoruyko and Komodakis 2016, Table 5; and
        # angular-loss.md's 11.22, which is ResNet-18 with 100 classes.
        (ResNet20(), 10, 0.27),
        (WideResNet(), 10, 36.5),
        (WideResNet(), 100, 36.5),
        (ResNet18(), 100, 11.22),
    ],
)
def test_printed_counts(network: nn.Module, classes: int, millions: float) -> None:
    digits = len(str(millions).split(".")[1])
    assert round(with_classifier(network, classes) / 1e6, digits) == millions


def test_counts_of_the_reference_implementations() -> None:
    # Known from other projects' networks, classifier of 10 classes included.
    assert with_classifier(ResNet18(), 10) == 11_173_962
    assert with_classifier(ResNet34(), 10) == 21_282_122
    assert with_classifier(ResNet20(), 10) == 269_722
    assert with_classifier(WideResNet(), 10) == 36_479_194


@pytest.mark.parametrize("name", sorted(SMALL_IMAGE_NETWORKS))
def test_features_have_the_size_asked_for_and_a_gradient(name: str) -> None:
    small = {"depth": 10, "width": 1} if name == "wide_resnet" else {}
    network = SMALL_IMAGE_NETWORKS[name](embedding_size=2, **small)
    shape = (1, 28, 28) if name in ("lenet", "convnet") else (3, 32, 32)
    features = network(torch.randn(4, *shape))
    assert features.shape == (4, 2)
    features.square().sum().backward()
    for key, weight in network.named_parameters():
        assert weight.grad is not None, key


def test_padded_shortcuts_pass_every_second_place() -> None:
    network = ResNet20().eval()
    block = next(b for b in network.layers if getattr(b, "stride", 1) == 2)
    for norm in (block.first[1], block.second[1]):
        nn.init.zeros_(norm.weight)
    maps = torch.rand(1, 16, 6, 6)
    passed = block(maps)
    assert torch.equal(passed[:, :16], maps[:, :, ::2, ::2])
    assert passed.shape == (1, 32, 3, 3)
    assert passed[:, 16:].abs().max() == 0


def test_options_out_of_range() -> None:
    with pytest.raises(ParameterError, match=r"dropout must be in \[0, 1\), got 1"):
        ConvNet(dropout=1.0)
    with pytest.raises(ParameterError, match="width must be at least 1/64, so that"):
        ConvNet(width=0.01)
    with pytest.raises(ParameterError, match="depth must be 6 n"):
        WideResNet(depth=27)
    with pytest.raises(ParameterError, match="width must be >= 1, got 0"):
        WideResNet(width=0)
    with pytest.raises(ParameterError, match="embedding_size must be >= 1, got 0"):
        LeNet(embedding_size=0)
