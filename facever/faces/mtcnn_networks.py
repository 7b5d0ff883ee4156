"""The three networks of MTCNN, with the weights that facenet-pytorch brings.

That package is not imported: with it comes torchvision, whose import takes longer than
finding the faces of a photo.

References:
    Zhang et al., Joint face detection and alignment using multi-task cascaded
    convolutional networks, 2016, figure 2.
"""

from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn


class CascadeNetwork(nn.Module):
    """Layers one after the other, and outputs that all read what the last one gives.

    Args:
        weights: Name of the weights' file in facenet-pytorch.
        layers: By their names in that file.
        outputs: The same; those of two classes, face and none, come first.
    """

    def __init__(
        self,
        weights: str,
        layers: dict[str, nn.Module],
        outputs: dict[str, nn.Module],
    ) -> None:
        super().__init__()
        self._layers = nn.Sequential(OrderedDict(layers))
        self._outputs = nn.ModuleDict(outputs)
        read = torch.load(_folder() / weights, weights_only=True)
        for part in (self._layers, self._outputs):
            part.load_state_dict({name: read[name] for name in part.state_dict()})

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs in their order: probabilities, moves of the box, and so on."""
        features = self._layers(images)
        scores, *others = (output(features) for output in self._outputs.values())
        return scores.softmax(dim=1), *others


class _FlattenByColumns(nn.Module):
    """One vector an image, a column after the other, as Caffe's weights want it."""

    def forward(self, features: Tensor) -> Tensor:
        return features.permute(0, 3, 2, 1).flatten(1)


def proposal_network() -> CascadeNetwork:
    """Stage 1, over whole photos: scores, and moves of the window."""
    return CascadeNetwork(
        "pnet.pt",
        {
            "conv1": nn.Conv2d(3, 10, 3),
            "prelu1": nn.PReLU(10),
            "pool1": nn.MaxPool2d(2, 2, ceil_mode=True),
            "conv2": nn.Conv2d(10, 16, 3),
            "prelu2": nn.PReLU(16),
            "conv3": nn.Conv2d(16, 32, 3),
            "prelu3": nn.PReLU(32),
        },
        {"conv4_1": nn.Conv2d(32, 2, 1), "conv4_2": nn.Conv2d(32, 4, 1)},
    )


def refining_network() -> CascadeNetwork:
    """Stage 2, over windows of 24x24 pixels: scores, and moves of the box."""
    return CascadeNetwork(
        "rnet.pt",
        {
            "conv1": nn.Conv2d(3, 28, 3),
            "prelu1": nn.PReLU(28),
            "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),
            "conv2": nn.Conv2d(28, 48, 3),
            "prelu2": nn.PReLU(48),
            "pool2": nn.MaxPool2d(3, 2, ceil_mode=True),
            "conv3": nn.Conv2d(48, 64, 2),
            "prelu3": nn.PReLU(64),
            "flatten": _FlattenByColumns(),
            "dense4": nn.Linear(576, 128),
            "prelu4": nn.PReLU(128),
        },
        {"dense5_1": nn.Linear(128, 2), "dense5_2": nn.Linear(128, 4)},
    )


def output_network() -> CascadeNetwork:
    """Stage 3, over windows of 48x48: scores, moves of the box, and five points."""
    return CascadeNetwork(
        "onet.pt",
        {
            "conv1": nn.Conv2d(3, 32, 3),
            "prelu1": nn.PReLU(32),
            "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),
            "conv2": nn.Conv2d(32, 64, 3),
            "prelu2": nn.PReLU(64),
            "pool2": nn.MaxPool2d(3, 2, ceil_mode=True),
            "conv3": nn.Conv2d(64, 64, 3),
            "prelu3": nn.PReLU(64),
            "pool3": nn.MaxPool2d(2, 2, ceil_mode=True),
            "conv4": nn.Conv2d(64, 128, 2),
            "prelu4": nn.PReLU(128),
            "flatten": _FlattenByColumns(),
            "dense5": nn.Linear(1152, 256),
            "prelu5": nn.PReLU(256),
        },
        {
            "dense6_1": nn.Linear(256, 2),
            "dense6_2": nn.Linear(256, 4),
            "dense6_3": nn.Linear(256, 10),
        },
    )


def _folder() -> Path:
    package = find_spec("facenet_pytorch")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "data"
