"""AdaFace's residual networks, under the names of its weights."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from facever.models.base import EmbeddingNetwork
from facever.models.parts import dropout_layer, start_by_fan_out

_CHANNELS = (64, 128, 256, 512)
# Four halvings leave 7x7 places of a 112x112 crop.
_PLACES = 7 * 7


class IRUnit(nn.Module):
    """Normalised, two 3x3 convolutions; the second one has the stride."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        # Unlike IResNetUnit: where only the size changes, places are left out.
        self.shortcut_layer = (
            nn.MaxPool2d(1, stride)
            if inputs == outputs
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            )
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(
        self, maps: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch outputs lower narrower"]:
        """Return residual(maps) + shortcut(maps)."""
        summed: Tensor = self.res_layer(maps) + self.shortcut_layer(maps)
        return summed


class IR(EmbeddingNetwork):
    """A residual network from a 112x112 crop to an embedding.

    Like ``IResNet`` but for the shortcut of the first unit, which has no weights, and
    the last normalisation, which learns nothing. AdaFace's own forward gives the
    embedding at unit length and its norm; here it is one vector, their product. AdaFace
    fuses photos by adding these, and reads quality off their length. It is made for
    crops of 112x112; AdaFace's weights want BGR.

    Args:
        embedding_size: Number of dimensions of an embedding.
        dropout: Share of the numbers before the linear layer that training sets to 0,
            in [0, 1).

    Raises:
        ParameterError: If an option is out of range.

    References:
        Kim et al., AdaFace, 2022; mk-minchul/AdaFace, net.py.
    """

    template = "112x112"
    option_weights: ClassVar = {"embedding_size": ("output_layer.3.weight", 1)}
    units: ClassVar[tuple[int, int, int, int]]

    def __init__(self, *, embedding_size: int = 512, dropout: float = 0.4) -> None:
        super().__init__(embedding_size)
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.PReLU(64),
        )
        inputs = 64
        body = []
        for outputs, count in zip(_CHANNELS, self.units, strict=True):
            body.append(IRUnit(inputs, outputs, stride=2))
            body += [IRUnit(outputs, outputs, stride=1) for _ in range(count - 1)]
            inputs = outputs
        self.body = nn.Sequential(*body)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            dropout_layer(dropout),
            nn.Flatten(),
            nn.Linear(inputs * _PLACES, embedding_size),
            nn.BatchNorm1d(embedding_size, affine=False),
        )
        start_by_fan_out(self)

    def forward(
        self, images: Float[Tensor, "batch 3 112 112"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed normalised crops.

        Args:
            images: Crops after mean subtraction and scaling, about [-1, 1].

        Returns:
            Embeddings, not normalised to unit length.
        """
        embeddings: Tensor = self.output_layer(self.body(self.input_layer(images)))
        return embeddings


class IR18(IR):
    """``ir_18`` of AdaFace: 2, 2, 2 and 2 units, for 112x112."""

    units = (2, 2, 2, 2)


class IR50(IR):
    """``ir_50`` of AdaFace: 3, 4, 14 and 3 units, for 112x112."""

    units = (3, 4, 14, 3)


class IR101(IR):
    """``ir_101`` of AdaFace: 3, 13, 30 and 3 units, for 112x112."""

    units = (3, 13, 30, 3)
