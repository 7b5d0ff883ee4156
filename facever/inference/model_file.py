"""Model files of every format: one way to load them and to change their header."""

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from facever.errors import ModelFileError
from facever.files import address_hint
from facever.inference.formats.foreign import ForeignNetwork
from facever.inference.header import ModelHeader
from facever.inference.model import LoadedModel
from facever.inference.ready import READY, load_ready


class Format(NamedTuple):
    """A format of model files.

    Attributes:
        title: What it is, in words, for messages.
        module: Has a function of the name of each method here; one of a foreign format
            has them all.
        extra: The extra that brings its runtime; None where nothing more is needed.
    """

    title: str
    module: str
    extra: str | None

    @property
    def is_foreign(self) -> bool:
        """Whether other projects write this format."""
        return self.extra is not None

    def load(self, path: Path) -> LoadedModel:
        """Read a file of this format."""
        model: LoadedModel = self._import().load(path)
        return model

    def write_header(self, path: Path, header: ModelHeader) -> None:
        """Write a file of this format anew with another header."""
        self._import().write_header(path, header)

    def open_network(self, path: Path, output: str | None) -> ForeignNetwork:
        """Read a foreign file, whatever its header says."""
        network: ForeignNetwork = self._import().open_network(path, output)
        return network

    def copy_with_header(self, source: Path, out: Path, header: ModelHeader) -> None:
        """Write a copy of a foreign file, with a header."""
        self._import().copy_with_header(source, out, header)

    def _import(self) -> Any:
        try:
            return import_module(f"facever.inference.formats.{self.module}")
        except ModuleNotFoundError as error:
            if self.extra is None or (error.name or "").startswith("facever"):
                raise
            raise ModelFileError(
                f"{self.title} needs the package {error.name}: "
                f"pip install '.[{self.extra}]' in a checkout of facever"
            ) from None


FORMATS: dict[str, Format] = {
    ".safetensors": Format("a network of facever's own", "safetensors_file", None),
    ".onnx": Format("an ONNX file", "onnx_file", "onnx"),
    ".xml": Format("an OpenVINO model", "openvino_file", "openvino"),
}
"""By the suffix of the file."""

FOREIGN_SUFFIXES = tuple(suffix for suffix, kind in FORMATS.items() if kind.is_foreign)
"""The suffixes of the formats that other projects write."""


_TRAINED_NAME = "model.safetensors"


def load_model(model: Path | str) -> LoadedModel:
    """Read a model file, or a ready model by its name.

    Args:
        model: A file of a format in ``FORMATS``, or a name in ``READY``, even where a
            folder is called so. Nothing in a file is executed as code.

    Returns:
        The network with its weights, ready to use.

    Raises:
        ModelFileError: If the file is missing, damaged, foreign, or made for crops that
            this version of facever does not cut.
    """
    path = Path(model)
    # A folder that is called so holds something else: a folder is no model file.
    if str(model) in READY and not path.is_file():
        return load_ready(str(model))
    return _find_format(path).load(path)


def open_foreign(path: Path, output: str | None = None) -> ForeignNetwork:
    """The network in a file of another project, whatever its header says.

    Args:
        path: An ``.onnx`` or an OpenVINO ``.xml``.
        output: Which output to take; None where only one can be the embedding.

    Raises:
        ModelFileError: If the file is of another format, or damaged, or no network from
            an image to an embedding.
    """
    kind = _find_format(path)
    if not kind.is_foreign:
        raise ModelFileError(f"{path} is {kind.title}, which needs no import")
    return kind.open_network(path, output)


def copy_foreign(source: Path, out: Path, header: ModelHeader) -> None:
    """Write a copy of a file of another project, with a header.

    Raises:
        ModelFileError: If the source cannot be read.
        FileError: If the copy cannot be written.
    """
    _find_format(source).copy_with_header(source, out, header)


def write_header(path: Path, header: ModelHeader) -> None:
    """Write a model file anew with another header; its network stays as it is.

    Raises:
        ModelFileError: If the file cannot be read.
        FileError: If it cannot be written; it is as it was then.
    """
    _find_format(path).write_header(path, header)


def _find_format(path: Path) -> Format:
    inside, beside = path / _TRAINED_NAME, path.with_name(_TRAINED_NAME)
    if path.is_dir():
        hint = f"; did you mean {inside}?" if inside.is_file() else ""
        raise ModelFileError(f"{path} is a folder, and a model file is meant{hint}")
    if path.suffix == ".pt" and path.is_file() and beside.is_file():
        raise ModelFileError(
            f"{path} is what a training goes on from, not a model file; "
            f"{_TRAINED_NAME} lies beside it: give {beside}"
        )
    if not path.is_file():
        raise ModelFileError(
            f"there is no model file {path}{address_hint(path)}; facever train writes "
            f"{_TRAINED_NAME} into its out folder, and ready models are "
            f"{', '.join(READY)}"
        )
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ModelFileError(
            f"{path} is none of the model files that are read "
            f"({', '.join(FORMATS)}); facever model import makes one of other files"
        )
    return kind
