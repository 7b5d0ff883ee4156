"""Model files of every format: one way to load them and to change their header."""

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from facever.errors import ModelFileError
from facever.inference.header import ModelHeader
from facever.inference.model import LoadedModel
from facever.inference.ready import READY, load_ready


class Backend(NamedTuple):
    """A format of model files, and what computes the networks in them.

    Attributes:
        title: What it is, in words, for messages.
        module: Has ``load(path)`` and ``write_header(path, header)``.
        extra: The extra that brings its runtime; None where nothing more is needed.
    """

    title: str
    module: str
    extra: str | None

    def load(self, path: Path) -> LoadedModel:
        """Read a file of this format."""
        model: LoadedModel = self._import().load(path)
        return model

    def write_header(self, path: Path, header: ModelHeader) -> None:
        """Write a file of this format anew with another header."""
        self._import().write_header(path, header)

    def _import(self) -> Any:
        try:
            return import_module(f"facever.inference.backends.{self.module}")
        except ModuleNotFoundError as error:
            if self.extra is None or (error.name or "").startswith("facever"):
                raise
            raise ModelFileError(
                f"{self.title} needs the package {error.name}: "
                f"pip install '.[{self.extra}]' in a checkout of facever"
            ) from None


BACKENDS: dict[str, Backend] = {
    ".safetensors": Backend("a network of facever's own", "torch_weights", None),
    ".onnx": Backend("an ONNX file", "onnx_runtime", "onnx"),
    ".xml": Backend("an OpenVINO model", "openvino_runtime", "openvino"),
}
"""By the suffix of the file."""


def load_model(model: Path | str) -> LoadedModel:
    """Read a model file, or a ready model by its name.

    Args:
        model: A file of a format in ``BACKENDS``, or a name in ``READY``. Nothing in a
            file is executed as code.

    Returns:
        The network with its weights, ready to use.

    Raises:
        ModelFileError: If the file is missing, damaged, foreign, or made for crops that
            this version of facever does not cut.
    """
    path = Path(model)
    if str(model) in READY and not path.exists():
        return load_ready(str(model))
    return _find_backend(path).load(path)


def write_header(path: Path, header: ModelHeader) -> None:
    """Write a model file anew with another header; its network stays as it is.

    Raises:
        ModelFileError: If the file cannot be read.
        FileError: If it cannot be written; it is as it was then.
    """
    _find_backend(path).write_header(path, header)


def _find_backend(path: Path) -> Backend:
    if not path.is_file():
        raise ModelFileError(
            f"there is no model file {path}; facever train writes model.safetensors "
            f"into its out folder, and ready models are {', '.join(READY)}"
        )
    backend = BACKENDS.get(path.suffix.lower())
    if backend is None:
        raise ModelFileError(
            f"{path} is none of the model files that are read "
            f"({', '.join(BACKENDS)}); facever model import makes one of other files"
        )
    return backend
