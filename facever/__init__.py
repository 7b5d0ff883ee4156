"""Face verification: photos to crops, crops to embeddings, embeddings to answers.

What stands here is the public interface; everything else may move.

>>> import facever
>>> embedder = facever.load("sface")  # doctest: +SKIP
>>> embedder.verify("a.jpg", "b.jpg").cosine  # doctest: +SKIP
0.71
>>> print(embedder.verify("a.jpg", "b.jpg"))  # doctest: +SKIP
the same person: cosine 0.7100, above the threshold 0.3600, which accepts ...
>>> facever.__version__.count(".")
2
"""

import os
from typing import TYPE_CHECKING, Any

from facever.errors import (
    ConfigError,
    DataError,
    DivergedError,
    FaceverError,
    FileError,
    GalleryError,
    MismatchError,
    ModelFileError,
    NotEnrolledError,
    ParameterError,
    PhotoError,
    TerminatedError,
    TooFewImagesError,
    UploadError,
)
from facever.version import __version__

# OpenMP's threads, torch's among them, wait for one another by counting to 300,000.
# Beside a busy process that takes the core which the last of them needs, and every step
# waits for it. The number is read when torch is imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if TYPE_CHECKING:
    from facever.clustering.face_clusters import FaceClusters, cluster_embeddings
    from facever.config.reading import load_config
    from facever.config.training import TrainConfig
    from facever.data.sources.any_source import find_photos
    from facever.data.store.crop_store import CropStore
    from facever.dataframe import to_dataframe
    from facever.faces.detection import Face
    from facever.gallery.entries import Match
    from facever.gallery.folder.gallery import Gallery
    from facever.gallery.opening import create_gallery, open_gallery
    from facever.heads import (
        AnchorNCM,
        Angular,
        ArcFace,
        Center,
        Contrastive,
        CosFace,
        Distillation,
        EuclideanMargin,
        Hinge,
        IncludeExclude,
        JointHead,
        LSoftmax,
        Softmax,
        SphereFace,
        Triplet,
    )
    from facever.inference.embedder import (
        EmbeddedFace,
        EmbeddedPhoto,
        Embedder,
        KeptEmbeddings,
        load,
    )
    from facever.inference.verdict import Verification
    from facever.stages.align import align
    from facever.stages.cluster import cluster
    from facever.stages.embed import embed
    from facever.stages.evaluation.compare import compare_reports
    from facever.stages.evaluation.evaluate import (
        evaluate_bin,
        evaluate_lfw,
        evaluate_list,
    )
    from facever.stages.evaluation.features import Inputs
    from facever.stages.evaluation.judging import Judging
    from facever.stages.evaluation.videos import evaluate_ytf
    from facever.stages.model.threshold import set_model_threshold
    from facever.stages.training.train import train
    from facever.stages.verify import verify

__all__ = [
    "AnchorNCM",
    "Angular",
    "ArcFace",
    "Center",
    "ConfigError",
    "Contrastive",
    "CosFace",
    "CropStore",
    "DataError",
    "Distillation",
    "DivergedError",
    "EmbeddedFace",
    "EmbeddedPhoto",
    "Embedder",
    "EuclideanMargin",
    "Face",
    "FaceClusters",
    "FaceverError",
    "FileError",
    "Gallery",
    "GalleryError",
    "Hinge",
    "IncludeExclude",
    "Inputs",
    "JointHead",
    "Judging",
    "KeptEmbeddings",
    "LSoftmax",
    "Match",
    "MismatchError",
    "ModelFileError",
    "NotEnrolledError",
    "ParameterError",
    "PhotoError",
    "Softmax",
    "SphereFace",
    "TerminatedError",
    "TooFewImagesError",
    "TrainConfig",
    "Triplet",
    "UploadError",
    "Verification",
    "__version__",
    "align",
    "cluster",
    "cluster_embeddings",
    "compare_reports",
    "create_gallery",
    "embed",
    "evaluate_bin",
    "evaluate_lfw",
    "evaluate_list",
    "evaluate_ytf",
    "find_photos",
    "load",
    "load_config",
    "open_gallery",
    "set_model_threshold",
    "to_dataframe",
    "train",
    "verify",
]

_HOMES = {
    "facever.clustering.face_clusters": ("FaceClusters", "cluster_embeddings"),
    "facever.config.reading": ("load_config",),
    "facever.config.training": ("TrainConfig",),
    "facever.data.sources.any_source": ("find_photos",),
    "facever.data.store.crop_store": ("CropStore",),
    "facever.dataframe": ("to_dataframe",),
    "facever.faces.detection": ("Face",),
    "facever.gallery.entries": ("Match",),
    "facever.gallery.folder.gallery": ("Gallery",),
    "facever.gallery.opening": (
        "create_gallery",
        "open_gallery",
    ),
    "facever.heads": (
        "AnchorNCM",
        "Angular",
        "ArcFace",
        "Center",
        "Contrastive",
        "CosFace",
        "Distillation",
        "EuclideanMargin",
        "Hinge",
        "IncludeExclude",
        "JointHead",
        "LSoftmax",
        "Softmax",
        "SphereFace",
        "Triplet",
    ),
    "facever.inference.embedder": (
        "EmbeddedFace",
        "EmbeddedPhoto",
        "Embedder",
        "KeptEmbeddings",
        "load",
    ),
    "facever.inference.verdict": ("Verification",),
    "facever.stages.align": ("align",),
    "facever.stages.cluster": ("cluster",),
    "facever.stages.embed": ("embed",),
    "facever.stages.evaluation.compare": ("compare_reports",),
    "facever.stages.evaluation.evaluate": (
        "evaluate_bin",
        "evaluate_lfw",
        "evaluate_list",
    ),
    "facever.stages.evaluation.features": ("Inputs",),
    "facever.stages.evaluation.judging": ("Judging",),
    "facever.stages.evaluation.videos": ("evaluate_ytf",),
    "facever.stages.model.threshold": ("set_model_threshold",),
    "facever.stages.training.train": ("train",),
    "facever.stages.verify": ("verify",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: torch alone takes seconds."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'facever' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
