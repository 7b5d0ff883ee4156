"""Heads: losses on embeddings and labels, one file each.

A head that classifies holds a vector for each class (softmax, hinge, the margin losses)
or fixed anchors; a metric head pulls embeddings to the centers of their classes, to a
teacher's embeddings, or compares the embeddings of a batch. ``JointHead`` adds weighted
heads up. What several heads are built from lies in ``parts``.

To add a head, write its file, add its class below, and add a row to the table of
``tests/heads/test_heads.py``; the keyword arguments of the class are its options in a
config.

Example:
    >>> import torch
    >>> from facever.heads import ArcFace
    >>> head = ArcFace(embedding_size=4, num_classes=3, margin=0.5, scale=64.0)
    >>> output = head(torch.randn(8, 4), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1]))
    >>> tuple(output.logits.shape), output.loss.requires_grad
    ((8, 3), True)
"""

from facever.heads.anchor_ncm import AnchorNCM
from facever.heads.angular import Angular
from facever.heads.arcface import ArcFace
from facever.heads.base import Head, HeadOutput, JointHead, check_labels
from facever.heads.center import Center
from facever.heads.contrastive import Contrastive
from facever.heads.cosface import CosFace
from facever.heads.distillation import Distillation
from facever.heads.euclidean_margin import EuclideanMargin
from facever.heads.hinge import Hinge
from facever.heads.ie import IncludeExclude
from facever.heads.lsoftmax import LSoftmax
from facever.heads.softmax import Softmax
from facever.heads.sphereface import SphereFace
from facever.heads.triplet import Triplet

HEADS: dict[str, type[Head]] = {
    "anchor_ncm": AnchorNCM,
    "angular": Angular,
    "arcface": ArcFace,
    "center": Center,
    "contrastive": Contrastive,
    "cosface": CosFace,
    "distillation": Distillation,
    "euclidean_margin": EuclideanMargin,
    "hinge": Hinge,
    "ie": IncludeExclude,
    "lsoftmax": LSoftmax,
    "softmax": Softmax,
    "sphereface": SphereFace,
    "triplet": Triplet,
}
"""Every head by the name that configs give it."""

__all__ = [
    "HEADS",
    "AnchorNCM",
    "Angular",
    "ArcFace",
    "Center",
    "Contrastive",
    "CosFace",
    "Distillation",
    "EuclideanMargin",
    "Head",
    "HeadOutput",
    "Hinge",
    "IncludeExclude",
    "JointHead",
    "LSoftmax",
    "Softmax",
    "SphereFace",
    "Triplet",
    "check_labels",
]
