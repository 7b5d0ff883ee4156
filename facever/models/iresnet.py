"""InsightFace's residual networks, under the names of arcface_torch's weights."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from facever.models.base import EmbeddingNetwork
from facever.models.parts import dropout_layer

# Four halvings leave 7x7 places of a 112x112 crop.
_PLACES = 7 * 7


class IResNetUnit(nn.Module):
    """Normalised, two 3x3 convolutions; the second one has the stride."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = (
            None
            if stride == 1
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            )
        )

    def forward(
        self, maps: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch outputs lower narrower"]:
        """Return residual(maps) + maps, or their projection where the size changes."""
        residual = self.prelu(self.bn2(self.conv1(self.bn1(maps))))
        residual = self.bn3(self.conv2(residual))
        summed: Tensor = residual + (
            maps if self.downsample is None else self.downsample(maps)
        )
        return summed


class IResNet(EmbeddingNetwork):
    """A residual network from a 112x112 crop to an embedding.

    A 3x3 convolution to 64 channels, then four stages of units with 64, 128, 256 and
    512 channels, the first unit of each with stride 2; a linear layer from the 7x7
    places, and batch normalisation without a learned scale. Units normalise first and
    have no activation after the sum. It is made for crops of 112x112, RGB.

    Args:
        embedding_size: Number of dimensions of an embedding.
        dropout: Share of the numbers before the linear layer that training sets to 0,
            in [0, 1).

    Raises:
        ParameterError: If an option is out of range.

    References:
        Deng et al., ArcFace, 2019, section 3.1; deepinsight/insightface,
        recognition/arcface_torch/backbones/iresnet.py.
    """

    template = "112x112"
    option_weights: ClassVar = {"embedding_size": ("fc.weight", 1)}
    units: ClassVar[tuple[int, int, int, int]]

    def __init__(self, *, embedding_size: int = 512, dropout: float = 0.0) -> None:
        super().__init__(embedding_size)
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        self.layer1 = _stage(64, 64, self.units[0])
        self.layer2 = _stage(64, 128, self.units[1])
        self.layer3 = _stage(128, 256, self.units[2])
        self.layer4 = _stage(256, 512, self.units[3])
        self.bn2 = nn.BatchNorm2d(512)
        self.dropout = dropout_layer(dropout)
        self.fc = nn.Linear(512 * _PLACES, embedding_size)
        self.features = nn.BatchNorm1d(embedding_size)
        self.features.weight.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.1)

    def forward(
        self, images: Float[Tensor, "batch 3 112 112"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed normalised RGB crops.

        Args:
            images: Crops after mean subtraction and scaling, about [-1, 1].

        Returns:
            Embeddings, not normalised to unit length.
        """
        maps = self.prelu(self.bn1(self.conv1(images)))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        places = self.dropout(self.bn2(maps).flatten(1))
        embeddings: Tensor = self.features(self.fc(places))
        return embeddings


class IResNet18(IResNet):
    """``r18`` of InsightFace's arcface_torch: 2, 2, 2 and 2 units, for 112x112."""

    units = (2, 2, 2, 2)


class IResNet34(IResNet):
    """``r34`` of InsightFace's arcface_torch: 3, 4, 6 and 3 units, for 112x112."""

    units = (3, 4, 6, 3)


class IResNet50(IResNet):
    """``r50`` of InsightFace's arcface_torch: 3, 4, 14 and 3 units, for 112x112."""

    units = (3, 4, 14, 3)


class IResNet100(IResNet):
    """``r100`` of InsightFace's arcface_torch: 3, 13, 30 and 3 units, for 112x112."""

    units = (3, 13, 30, 3)


class IResNet200(IResNet):
    """``r200`` of InsightFace's arcface_torch: 6, 26, 60 and 6 units, for 112x112."""

    units = (6, 26, 60, 6)


def _stage(inputs: int, outputs: int, count: int) -> nn.Sequential:
    first = IResNetUnit(inputs, outputs, stride=2)
    further = (IResNetUnit(outputs, outputs, stride=1) for _ in range(count - 1))
    return nn.Sequential(first, *further)
