"""Sets of named choices, spelled once: for the command, the configs and the library.

A table that gives each name its meaning, such as ``DETECTORS``, takes its keys' type
from here; this module imports nothing, so that ``facever --help`` answers at once.
"""

from typing import Final, Literal

DEFAULT_MODEL = "sface"
"""The ready model that is taken where none is named."""

DEFAULT_MAX_PIXELS = 80_000_000
"""Height times width of the largest photo that is decoded."""

Detector = Literal["mtcnn", "mtcnn-sphereface", "yunet", "crops"]
"""How faces are found in photos; ``crops`` says that the photos are crops already."""

TemplateName = Literal["112x96", "112x112", "128x128", "160x160", "150x150"]
"""What crops look like, by height x width; see ``facever.faces.templates``."""

ChannelOrder = Literal["RGB", "BGR"]
"""The order in which a network takes the colours of a pixel."""

ArrayChannels = Literal["rgb", "bgr", "RGB", "BGR"]
"""The order of colours in arrays that are given as photos; OpenCV reads BGR."""

DEFAULT_FACE: Final = "prominent"

OneFace = Literal["prominent", "largest", "center", "best"]
"""Which one face is taken, where a photo has several."""

FaceRule = Literal[OneFace, "all"]
"""Which faces are taken, where a photo has several."""

OnError = Literal["raise", "skip"]
"""Whether a photo without an embedding is an error, or left out with its reason."""

Mirror = Literal["sum", "concat", "none"]
"""How the features of a crop and of its mirror image become one embedding."""

Precision = Literal["auto", "bf16", "fp32"]
"""The numbers a network computes with; ``auto``: bf16 where there are units for it."""

ExportPrecision = Literal["fp32", "fp16", "int8"]
"""The numbers of an exported file."""

Backend = Literal["auto", "torch", "onnxruntime", "openvino"]
"""What computes a network; ``auto``: the fastest that is known to give the same."""

Measure = Literal["cosine", "euclidean"]
"""How two embeddings are compared."""

MissingRule = Literal["reject", "lowest", "error"]
"""What becomes of a pair of which a photo is missing."""

Rule = Literal[
    "exact",
    "insightface",
    "sphereface",
    "facenet",
    "facexzoo",
    "openface",
    "in-sample",
    "all",
]
"""How pairs are judged: by our exact rule alone, or also as other projects do."""

VideoPooling = Literal["embeddings", "scores"]
"""What of a video's frames is averaged."""

By = Literal["photo", "best", "mean"]
"""Whether each photo is a match, or each person by their best or mean photo."""

FolderIndexKind = Literal["auto", "exact", "sq8", "ivf-flat", "ivf-pq", "hnsw"]
"""What a gallery in a folder is searched with; ``auto`` goes by its size."""

PostgresIndexKind = Literal["exact", "hnsw", "halfvec"]
"""What a gallery in PostgreSQL is searched with."""

ClusterMethod = Literal["agglomerative", "hdbscan"]
"""How faces without names are sorted by person."""

ExportForm = Literal["folders", "tar", "rec"]
"""What a crop store is written as for other tools."""

OptimiserName = Literal["sgd", "adamw"]
"""How gradients become steps."""

ScheduleShape = Literal["drops", "cosine", "inverse", "one_cycle"]
"""How the learning rate runs over the steps of a training."""

TrainScheduleShape = Literal[ScheduleShape, "plateau"]
"""The shapes for networks of faces; ``plateau`` goes by held-out people."""

PlateauMeasure = Literal["auc", "tar"]
"""What a ``plateau`` measures: the area under the ROC curve, or TAR at FAR 0.001."""

MeanName = Literal["constant", "image"]
"""What is subtracted from pixels: 127.5, or the mean image of the training crops."""

SmallImageSetName = Literal["mnist", "fashion-mnist", "cifar10", "cifar100"]
"""The sets of small images that the papers experiment with."""

ImagePreparation = Literal[
    "divide_256", "mean_image", "contrast", "mean_std", "global_mean_std"
]
"""How a small image's pixels become the network's numbers."""
