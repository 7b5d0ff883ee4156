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
        embedding_size: Dimensions of an embedding, at least 1.
    """

    template: ClassVar[TemplateName] = "112x96"

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        if embedding_size < 1:
            raise ParameterError(f"embedding_size must be >= 1, got {embedding_size}")
        self.embedding_size = embedding_size
