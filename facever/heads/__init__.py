"""Heads: losses on embeddings and labels. A new head is one file and one line here."""

from facever.heads.arcface import ArcFace
from facever.heads.base import Head, HeadOutput, JointHead, check_labels
from facever.heads.center import Center
from facever.heads.ie import IncludeExclude
from facever.heads.softmax import Softmax

HEADS: dict[str, type[Head]] = {
    "arcface": ArcFace,
    "center": Center,
    "ie": IncludeExclude,
    "softmax": Softmax,
}

__all__ = ["HEADS", "Head", "HeadOutput", "JointHead", "check_labels"]
