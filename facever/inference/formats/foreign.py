"""A network of another project, and a header, as a model that can be used."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from facever.errors import DataError, FaceverError, MismatchError, ModelFileError
from facever.inference.backends.runtime_network import RuntimeNetwork
from facever.inference.header import ModelHeader, start_fingerprint
from facever.inference.model import LoadedModel


@dataclass(frozen=True)
class ForeignNetwork:
    """What is in a file of another project.

    Attributes:
        path: The file.
        network: The network.
        digest: SHA-256 of the network and its weights, whatever its metadata say.
        normalises: Whether the network itself brings pixels of 0 to 255 to its range.
        constants: Names and numbers of its weights, read once.
    """

    path: Path
    network: RuntimeNetwork
    digest: str
    normalises: bool
    constants: Iterable[tuple[str, np.ndarray]] = field(repr=False)


def make_model(foreign: ForeignNetwork, header: ModelHeader) -> LoadedModel:
    """Put a model together, and see that header and network agree.

    Where the file does not say that the network gives what the header says, the network
    computes a crop.

    Args:
        foreign: The network.
        header: What is said of it.

    Raises:
        ModelFileError: If the two contradict each other, or a weight is not finite.
    """
    network = foreign.network
    try:
        _check_constants(foreign.constants)
        template = header.find_template()
        assert template is not None
        network.image.check_size(template)
        size = network.stated_size
        if size != header.embedding_size:
            size = network.embedding_size(header.crop_height, header.crop_width)
        if size != header.embedding_size:
            raise MismatchError(
                f"embedding_size is {header.embedding_size} there, {size} in the "
                "network"
            )
        if header.mean == "image":
            raise MismatchError("mean is an image there, and the file carries none")
    except FaceverError as error:
        raise ModelFileError(
            f"{foreign.path}: the network does not fit what its header says ({error}); "
            "write the header anew with facever model import"
        ) from None
    return LoadedModel(network, header, _fingerprint(foreign, header))


def _fingerprint(foreign: ForeignNetwork, header: ModelHeader) -> str:
    if header.source_fingerprint:
        return header.source_fingerprint
    # What a network is called decides nothing.
    begun = start_fingerprint(replace(header, network=""))
    begun.update(foreign.digest.encode())
    return begun.hexdigest()


def runtime_error(path: Path, runtime: str, error: Exception) -> ModelFileError:
    """What a runtime says of a network that it cannot load or compute, as one line."""
    reason = " ".join(str(error).split())[:300]
    return ModelFileError(f"{path} cannot be run by {runtime}: {reason}")


def _check_constants(constants: Iterable[tuple[str, np.ndarray]]) -> None:
    """Refuse weights that are NaN or infinite; some networks mask with minus infinity.

    Raises:
        DataError: If there is one; the message names it.
    """
    for name, value in constants:
        if np.issubdtype(value.dtype, np.floating):
            highest = value.max(initial=-np.inf)
            if np.isnan(highest) or highest == np.inf:
                raise DataError(f"{name} holds numbers that are not finite")
