"""Networks that turn images into embeddings."""

from typing import Any

from facever.errors import ParameterError
from facever.models.base import EmbeddingNetwork
from facever.models.resnet27 import ResNet27

NETWORKS: dict[str, type[EmbeddingNetwork]] = {"resnet27": ResNet27}


def build_network(name: str, options: dict[str, Any]) -> EmbeddingNetwork:
    """A network by its name in ``NETWORKS``.

    Args:
        name: The name of the network, such as ``resnet27``.
        options: Keyword arguments of the network's class.

    Returns:
        A module from float ``[B, 3, 112, 96]`` to ``[B, embedding_size]``.

    Raises:
        ParameterError: If the name or an option is unknown or out of range.
    """
    if name not in NETWORKS:
        raise ParameterError(
            f"unknown network {name!r}; known are {', '.join(sorted(NETWORKS))}"
        )
    try:
        return NETWORKS[name](**options)
    except TypeError as error:
        raise ParameterError(f"network {name}: {error}") from None
