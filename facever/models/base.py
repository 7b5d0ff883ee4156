"""What every network is."""

from typing import ClassVar

from torch import nn

from facever.choices import TemplateName
from facever.errors import ParameterError


class EmbeddingNetwork(nn.Module):
    """A module from float ``[B, 3, height, width]`` to ``[B, embedding_size]``.

    A subclass takes its options as keyword arguments with defaults; those keywords are
    the options of the config file and of the model file's header.

    Attributes:
        template: The crops that it takes.
        option_weights: Which options the shapes of its weights tell: for each, the name
            of a weight, and how many outputs of that weight an option of 1 stands for.
        embedding_size: Dimensions of an embedding, at least 1.
    """

    template: ClassVar[TemplateName] = "112x96"
    option_weights: ClassVar[dict[str, tuple[str, int]]] = {}

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        if embedding_size < 1:
            raise ParameterError(f"embedding_size must be >= 1, got {embedding_size}")
        self.embedding_size = embedding_size
