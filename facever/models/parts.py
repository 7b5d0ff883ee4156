"""What several networks are built from."""

from jaxtyping import Float
from torch import Tensor, nn

from facever.errors import ParameterError


class Shortcut(nn.Sequential):
    """Parts that follow each other beside an identity mapping."""

    def forward(
        self, maps: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Return maps + parts(maps)."""
        inner = maps
        for part in self:
            inner = part(inner)
        return maps + inner


def dropout_layer(probability: float) -> nn.Dropout:
    """Dropout that leaves something.

    Raises:
        ParameterError: If the probability is not in [0, 1).
    """
    if not 0 <= probability < 1:
        raise ParameterError(f"dropout must be in [0, 1), got {probability}")
    return nn.Dropout(probability)


def start_by_fan_out(network: nn.Module) -> None:
    """He et al.'s normal distribution for convolutions and linear layers.

    It keeps the size of gradients on their way back; biases start at 0.

    References:
        He et al., Delving deep into rectifiers, 2015, section 2.2.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
