"""Wide residual networks for 32x32 images, WRN-28-10 among them."""

from torch import Tensor, nn
from torch.nn.functional import relu

from facever.errors import ParameterError
from facever.small_images.networks.cifar_resnet import PooledNetwork


class _Block(nn.Module):
    """Normalisation and ReLU before each of two 3x3 convolutions, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.first_norm = nn.BatchNorm2d(inputs)
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.projection = (
            nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            if inputs != outputs
            else None
        )

    def forward(self, maps: Tensor) -> Tensor:
        active = relu(self.first_norm(maps))
        passed = maps if self.projection is None else self.projection(active)
        residual = self.dropout(relu(self.second_norm(self.first(active))))
        summed: Tensor = passed + self.second(residual)
        return summed


class WideResNet(PooledNetwork):
    """WRN-depth-width: three groups of pre-activation blocks, then a mean over places.

    Args:
        depth: Number of layers, 6 n + 4; 28 for WRN-28-10.
        width: Factor on the 16, 32 and 64 channels of the groups; 10 for WRN-28-10.
        dropout: Share of the activations that are dropped within the blocks.
        channels: Number of channels of the images.
        embedding_size: 64 x width takes the mean over places as it is; another number
            adds a linear layer.

    Raises:
        ParameterError: If an option is out of range.

    References:
        Zagoruyko and Komodakis, Wide residual networks, 2016, Table 1; 36.5 million
        parameters for WRN-28-10.
    """

    def __init__(
        self,
        *,
        depth: int = 28,
        width: int = 10,
        dropout: float = 0.0,
        channels: int = 3,
        embedding_size: int = 640,
    ) -> None:
        super().__init__(embedding_size)
        if depth < 10 or (depth - 4) % 6:
            raise ParameterError(f"depth must be 6 n + 4, n >= 1, got {depth}")
        if width < 1:
            raise ParameterError(f"width must be >= 1, got {width}")
        if not 0 <= dropout < 1:
            raise ParameterError(f"dropout must be in [0, 1), got {dropout}")
        inputs = 16
        layers: list[nn.Module] = [
            nn.Conv2d(channels, inputs, 3, padding=1, bias=False)
        ]
        for group in range(3):
            outputs = 16 * 2**group * width
            for block in range((depth - 4) // 6):
                stride = 2 if group and not block else 1
                layers.append(_Block(inputs, outputs, stride, dropout))
                inputs = outputs
        layers += [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)]
        self._stack(layers, inputs)
