"""ResNet-27, the face network of the IE paper (Wu et al. 2018, Table 5)."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from facever.errors import ParameterError
from facever.models.base import EmbeddingNetwork

# Depth of Conv0..Conv4 at width 1, and the residual units behind Conv1..Conv4.
_CHANNELS = (32, 64, 128, 256, 512)
_UNITS = (1, 2, 5, 3)
# A 112x96 crop leaves Pool4 as 5 rows of 4.
_FC_PLACES = 5 * 4


def _convolution(inputs: int, outputs: int, padding: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=padding, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class PooledReLU(nn.MaxPool2d):
    """ReLU and then a max pool.

    Training pools first: the same bits, gradients too, and ReLU meets a quarter of the
    places. In use the ReLU stays where runtimes make it a part of the convolution.
    """

    def forward(
        self, maps: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels pooled_height pooled_width"]:
        """Return pool(relu(maps)); the maps may be changed."""
        if self.training:
            return relu(super().forward(maps), inplace=True)
        pooled: Tensor = super().forward(relu(maps, inplace=True))
        return pooled


class ResidualUnit(nn.Module):
    """Two padded 3x3 convolutions beside an identity mapping."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *_convolution(channels, channels, padding=1),
            nn.ReLU(inplace=True),
            *_convolution(channels, channels, padding=1),
        )
        self.relu = nn.ReLU(inplace=True)

    def start_as_identity(self) -> None:
        """Zero the residual's last scale, so that the unit passes its input on."""
        norm = self.residual[-1]
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.zeros_(norm.weight)

    def forward(
        self, maps: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Return relu(maps + residual(maps))."""
        summed: Tensor = self.relu(maps + self.residual(maps))
        return summed


class ResNet27(EmbeddingNetwork):
    """27 convolutions from a 112x96 crop to an embedding.

    Conv0..Conv4 are 3x3, stride 1, without padding; a 2x2 max pool follows each of
    Conv1..Conv4, and 1, 2, 5 and 3 residual units follow the pools. Every convolution
    has batch normalisation and ReLU and no bias. Fc5 is linear, without bias, so the
    weights count exactly as in Table 5.

    The paper prints neither the initialisation nor what follows Fc5. Convolutions start
    from He et al.'s normal distribution and residual units as the identity (Goyal et
    al., Accurate, large minibatch SGD, 2017, section 5.1), without which the first
    hundred steps may learn nothing; nothing follows Fc5 unless
    ``normalised_embedding`` asks for batch normalisation there (the last layer of
    "option E" of Deng et al., ArcFace, 2019, section 3.2), with which margin heads on
    cosines train faster.

    Args:
        width: Factor on the depth of all convolutions, in [1/16, 16]. 1 is the paper's
            [N]. The paper's [P] is ``width=2`` with ``narrow_stem=True``.
        embedding_size: Number of dimensions of an embedding.
        narrow_stem: Keep Conv0 at its 32 channels whatever the width, as [P] does.
        normalised_embedding: Whether batch normalisation follows Fc5.

    Raises:
        ParameterError: If width or embedding_size is out of range.

    References:
        Wu et al., Exponential discriminative metric embedding, 2018, Table 5.
    """

    option_weights: ClassVar = {"embedding_size": ("fc5.weight", 1)}

    def __init__(
        self,
        *,
        width: float = 1.0,
        embedding_size: int = 512,
        narrow_stem: bool = False,
        normalised_embedding: bool = False,
    ) -> None:
        super().__init__(embedding_size)
        if not 1 / 16 <= width <= 16:
            raise ParameterError(f"width must be in [1/16, 16], got {width}")
        channels = [max(1, round(count * width)) for count in _CHANNELS]
        if narrow_stem:
            channels[0] = _CHANNELS[0]

        layers: list[nn.Module] = [
            *_convolution(3, channels[0], padding=0),
            nn.ReLU(inplace=True),
        ]
        for inputs, outputs, num_units in zip(
            channels[:-1], channels[1:], _UNITS, strict=True
        ):
            layers += _convolution(inputs, outputs, padding=0)
            # Weights are named by their places, and ReLU once had one of its own.
            layers += [nn.Identity(), PooledReLU(2)]
            layers += [ResidualUnit(outputs) for _ in range(num_units)]
        self.trunk = nn.Sequential(*layers)
        self.fc5 = nn.Linear(_FC_PLACES * channels[-1], embedding_size, bias=False)
        self.embedding_norm = (
            nn.BatchNorm1d(embedding_size) if normalised_embedding else nn.Identity()
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if isinstance(module, ResidualUnit):
                module.start_as_identity()

    def forward(
        self, images: Float[Tensor, "batch 3 112 96"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed normalised RGB crops.

        Args:
            images: Crops after mean subtraction and scaling, about [-1, 1].

        Returns:
            Embeddings, not normalised to unit length.
        """
        embeddings: Tensor = self.embedding_norm(
            self.fc5(self.trunk(images).flatten(1))
        )
        return embeddings
