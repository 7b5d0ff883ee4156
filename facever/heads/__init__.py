"""Heads: losses on embeddings and labels. A new head is one file and one line here."""

from facever.heads.anchor_ncm import AnchorNCM
from facever.heads.angular import Angular
from facever.heads.arcface import ArcFace
from facever.heads.base import Head, HeadOutput, JointHead, check_labels
from facever.heads.center import Center
from facever.heads.contrastive import Contrastive
from facever.heads.cosface import CosFace
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
    "euclidean_margin": EuclideanMargin,
    "hinge": Hinge,
    "ie": IncludeExclude,
    "lsoftmax": LSoftmax,
    "softmax": Softmax,
    "sphereface": SphereFace,
    "triplet": Triplet,
}

__all__ = ["HEADS", "Head", "HeadOutput", "JointHead", "check_labels"]
