"""facenet-pytorch's Inception-ResNet-v1."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from facever.models.base import EmbeddingNetwork
from facever.models.parts import dropout_layer


class InceptionResnetV1(EmbeddingNetwork):
    """``InceptionResnetV1`` of facenet-pytorch, for 160x160.

    The layers are those of the installed package, freshly initialised: nothing is
    downloaded. Its embeddings have unit length.

    Args:
        embedding_size: Number of dimensions of an embedding.
        dropout: Share of the numbers before the linear layer that training sets to 0,
            in [0, 1).

    Raises:
        ParameterError: If an option is out of range.

    References:
        Szegedy et al., Inception-v4, Inception-ResNet and the impact of residual
        connections on learning, 2017; timesler/facenet-pytorch,
        models/inception_resnet_v1.py.
    """

    template = "160x160"
    option_weights: ClassVar = {"embedding_size": ("last_linear.weight", 1)}

    def __init__(self, *, embedding_size: int = 512, dropout: float = 0.6) -> None:
        super().__init__(embedding_size)
        # The package imports torchvision, which takes seconds: here for this one alone.
        from facenet_pytorch import InceptionResnetV1 as Original

        for name, part in Original(pretrained=None).named_children():
            self.add_module(name, part)
        self.dropout = dropout_layer(dropout)
        self.last_linear = nn.Linear(1792, embedding_size, bias=False)
        self.last_bn = nn.BatchNorm1d(embedding_size, eps=0.001)

    def forward(
        self, images: Float[Tensor, "batch 3 160 160"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed normalised RGB crops.

        Args:
            images: Crops after mean subtraction and scaling, about [-1, 1].

        Returns:
            Embeddings of unit length.
        """
        maps = images
        *convolutions, linear, norm = self.children()  # In the order of use.
        for part in convolutions:
            maps = part(maps)
        return normalize(norm(linear(maps.flatten(1))))
