"""How networks of other projects want their crops, as those projects' own code does it.

A new one is a row in ``PRESETS``.
"""

from dataclasses import dataclass

from facever.choices import ChannelOrder, Mirror, TemplateName


@dataclass(frozen=True)
class Preset:
    """What a project's networks have in common.

    Attributes:
        title: Whose networks these are.
        template: The crops.
        channel_order: The order of the colours in the network's input.
        mean: Subtracted from the pixels; a number, or one for each of red, green and
            blue.
        scale: Divides the pixels after that.
        mirror: How the project merges a crop and its mirror image, or ``sum`` where it
            does not say.
        licence: The licence of the weights, as the project states it.
        networks: The rows of ``NETWORKS`` whose published weights these are; of weights
            that fit one of them no preset has to be named.
    """

    title: str
    template: TemplateName
    channel_order: ChannelOrder = "RGB"
    mean: float | tuple[float, float, float] = 127.5
    scale: float | tuple[float, float, float] = 127.5
    mirror: Mirror = "sum"
    licence: str = "unknown"
    networks: tuple[str, ...] = ()


_RESEARCH = "non-commercial research only, as InsightFace states"

PRESETS: dict[str, Preset] = {
    "insightface": Preset(
        "InsightFace's recognition networks, such as w600k_r50.onnx and glintr100.onnx",
        "112x112",
        licence=_RESEARCH,
        networks=(
            "iresnet18",
            "iresnet34",
            "iresnet50",
            "iresnet100",
            "iresnet200",
            "mobilefacenet",
        ),
    ),
    "adaface": Preset(
        "AdaFace",
        "112x112",
        "BGR",
        licence="MIT for the weights",
        networks=("ir_18", "ir_50", "ir_101"),
    ),
    "sface": Preset(
        "SFace of the OpenCV zoo",
        "112x112",
        mean=0.0,
        scale=1.0,
        licence="Apache-2.0 for the weights",
    ),
    "facenet-pytorch": Preset(
        "facenet-pytorch's InceptionResnetV1",
        "160x160",
        scale=128.0,
        licence="not stated for the weights",
        networks=("inception_resnet_v1",),
    ),
    "mobilefacenet-112x96": Preset(
        "MobileFaceNet of 112x96 crops, as Xiaoccer trains it",
        "112x96",
        scale=128.0,
        mirror="concat",
        networks=("mobilefacenet_xiaoccer",),
    ),
    "openvino-reidentification": Preset(
        "face-reidentification-retail-0095 of the Open Model Zoo",
        "128x128",
        "BGR",
        mean=0.0,
        scale=1.0,
        licence="Apache-2.0",
    ),
    "dlib": Preset(
        "dlib's face_recognition_resnet_model_v1, converted to ONNX",
        "150x150",
        mean=(122.782, 117.001, 104.298),
        scale=256.0,
        mirror="none",
        licence="CC0",
    ),
}
