"""What the residual networks of small images end with."""

from jaxtyping import Float
from torch import Tensor, nn

from facever.models.base import EmbeddingNetwork


class PooledNetwork(EmbeddingNetwork):
    """Layers, the mean over places, and a linear layer where the size asks for one.

    A subclass calls ``_stack`` at the end of its ``__init__``.
    """

    def _stack(self, layers: list[nn.Module], width: int) -> None:
        """Take the layers, whose last gives ``width`` channels, and draw weights.

        Convolutions are drawn as He et al. 2015 do, by what leaves them.
        """
        self.layers = nn.Sequential(*layers)
        size = self.embedding_size
        self.linear = nn.Linear(width, size) if size != width else None
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(
        self, images: Float[Tensor, "batch channels side side"]
    ) -> Float[Tensor, "batch dim"]:
        """Features of images."""
        features: Tensor = self.layers(images).mean(dim=(2, 3))
        return features if self.linear is None else self.linear(features)
