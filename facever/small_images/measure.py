"""What a trained classifier of small images is judged by."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from facever.errors import ParameterError
from facever.heads import JointHead
from facever.heads.parts.class_logits import unit

_BATCH = 1000


@dataclass(frozen=True)
class ErrorRates:
    """Shares of images in [0, 1].

    Attributes:
        top1: Share of images whose class is not the predicted one.
        top5: Share of images whose class is not among the five likeliest.
    """

    top1: float
    top5: float


@torch.inference_mode()
def embed_images(
    network: nn.Module, images: Float[Tensor, "images channels height width"]
) -> Float[Tensor, "images dim"]:
    """Features of images, by a network in evaluation mode, which it stays in."""
    network.eval()
    parts = [network(part) for part in torch.split(images, _BATCH)]
    return torch.cat(parts)


@torch.inference_mode()
def predict_logits(
    head: JointHead, features: Float[Tensor, "images dim"]
) -> Float[Tensor, "images classes"]:
    """What the classifying head of a joint head says of each class, by its own rule.

    The largest is the predicted class. It is the largest logit of a linear or cosine
    classifier, without the margin, and the nearest class vector or anchor of one that
    measures distances. No label takes part: the margin is for training, and distances
    that depend on the label in their last digits are asked for with class 0.

    Args:
        head: The joint head, which is in evaluation mode afterwards.
        features: The features that a network gave.

    Raises:
        ParameterError: If no head classifies.
    """
    head.eval()
    parts = []
    for part in torch.split(features, _BATCH):
        no_labels = torch.zeros(len(part), dtype=torch.int64, device=part.device)
        logits = head(part, no_labels).logits
        if logits is None:
            raise ParameterError(
                "heads must name one that classifies, such as softmax, got "
                f"{', '.join(head.heads)}"
            )
        parts.append(logits)
    return torch.cat(parts)


def error_rates(
    logits: Float[Tensor, "images classes"], labels: Int64[Tensor, " images"]
) -> ErrorRates:
    """Error rates of predictions.

    Args:
        logits: The logits that ``predict_logits`` gives.
        labels: The right class of each image.
    """
    likeliest = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = likeliest == labels[:, None]
    num_images = len(labels)
    return ErrorRates(
        top1=int((~hits[:, 0]).sum()) / num_images,
        top5=int((~hits.any(dim=1)).sum()) / num_images,
    )


def mean_confidence(
    logits: Float[Tensor, "images classes"], labels: Int64[Tensor, " images"]
) -> float:
    """The mean probability that softmax gives to the right class, in [0, 1].

    Args:
        logits: The logits that ``predict_logits`` gives.
        labels: The right class of each image.

    References:
        Angular loss, arXiv 1912.07819, section 3.2 and Fig. 4.
    """
    probabilities = logits.double().softmax(dim=1)
    return float(probabilities.gather(1, labels[:, None]).mean())


def class_vectors(head: JointHead) -> Float[Tensor, "classes dim"]:
    """The weights or anchors W_j of the first head that has them.

    Raises:
        ParameterError: If no head classifies.
    """
    vectors = head.class_vectors()
    if vectors is None:
        raise ParameterError(
            f"heads must name one that classifies, got {', '.join(head.heads)}"
        )
    return vectors


def target_angles(
    features: Float[Tensor, "images dim"], target: Float[Tensor, " dim"]
) -> Float[Tensor, " images"]:
    """Angles in radians between features and the vector of their class."""
    cosine = unit(features) @ unit(target[None])[0]
    return cosine.clamp(-1, 1).acos()
