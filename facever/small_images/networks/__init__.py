"""Networks for 28x28 and 32x32 images, of the papers' experiments on small images."""

from facever.models.base import EmbeddingNetwork
from facever.small_images.networks.cifar_resnet import ResNet18, ResNet20, ResNet34
from facever.small_images.networks.convnets import Cifar10Quick, ConvNet, LeNet
from facever.small_images.networks.wide_resnet import WideResNet

SMALL_IMAGE_NETWORKS: dict[str, type[EmbeddingNetwork]] = {
    "cifar10_quick": Cifar10Quick,
    "convnet": ConvNet,
    "lenet": LeNet,
    "resnet18": ResNet18,
    "resnet20": ResNet20,
    "resnet34": ResNet34,
    "wide_resnet": WideResNet,
}
