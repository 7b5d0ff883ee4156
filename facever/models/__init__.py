"""Networks that turn images into embeddings."""

from typing import Any

from facever.errors import ParameterError
from facever.models.adaface_ir import IR18, IR50, IR101
from facever.models.base import EmbeddingNetwork
from facever.models.inception_resnet_v1 import InceptionResnetV1
from facever.models.iresnet import (
    IResNet18,
    IResNet34,
    IResNet50,
    IResNet100,
    IResNet200,
)
from facever.models.mobilefacenet import (
    MobileFaceNet,
    MobileFaceNetTreB1eN,
    MobileFaceNetXiaoccer,
)
from facever.models.resnet27 import ResNet27

NETWORKS: dict[str, type[EmbeddingNetwork]] = {
    "resnet27": ResNet27,
    "iresnet18": IResNet18,
    "iresnet34": IResNet34,
    "iresnet50": IResNet50,
    "iresnet100": IResNet100,
    "iresnet200": IResNet200,
    "ir_18": IR18,
    "ir_50": IR50,
    "ir_101": IR101,
    "mobilefacenet": MobileFaceNet,
    "mobilefacenet_treb1en": MobileFaceNetTreB1eN,
    "mobilefacenet_xiaoccer": MobileFaceNetXiaoccer,
    "inception_resnet_v1": InceptionResnetV1,
}


def network_class(name: str) -> type[EmbeddingNetwork]:
    """The class of a network by its name in ``NETWORKS``.

    Raises:
        ParameterError: If the name is unknown.
    """
    if name not in NETWORKS:
        raise ParameterError(
            f"unknown network {name!r}; known are {', '.join(sorted(NETWORKS))}"
        )
    return NETWORKS[name]


def build_network(name: str, options: dict[str, Any]) -> EmbeddingNetwork:
    """A network by its name in ``NETWORKS``.

    Args:
        name: The name of the network, such as ``resnet27``.
        options: Keyword arguments of the network's class.

    Returns:
        A module from float ``[B, 3, height, width]``, the size of its ``template``, to
        ``[B, embedding_size]``.

    Raises:
        ParameterError: If the name or an option is unknown or out of range.
    """
    kind = network_class(name)
    try:
        return kind(**options)
    except TypeError as error:
        raise ParameterError(f"network {name}: {error}") from None
