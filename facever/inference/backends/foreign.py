"""A network of another project, with a header, as a model that can be used."""

from pathlib import Path

from facever.errors import FaceverError, MismatchError, ModelFileError
from facever.inference.backends.ports import ImageInput
from facever.inference.backends.runtime import RuntimeNetwork
from facever.inference.header import ModelHeader, start_fingerprint
from facever.inference.model import LoadedModel
from facever.inference.preprocessing import make_preprocessing


def make_model(
    path: Path, header: ModelHeader, network: RuntimeNetwork, digest: str
) -> LoadedModel:
    """Put a model together, and see on one crop that header and network agree.

    Args:
        path: The file, for messages.
        header: What is said of the network.
        network: The network.
        digest: SHA-256 of the network and its weights.

    Raises:
        ModelFileError: If header and network contradict each other.
    """
    fingerprint = start_fingerprint(header)
    fingerprint.update(digest.encode())
    try:
        _check_image_size(header, network.image)
        size = network.embedding_size(header.crop_height, header.crop_width)
        if size != header.embedding_size:
            raise MismatchError(
                f"embedding_size is {header.embedding_size} there, {size} in the "
                "network"
            )
        if header.mean == "image":
            raise MismatchError("mean is an image there, and the file carries none")
        preprocessing = make_preprocessing(
            header.mean, header.scale, header.channel_order
        )
    except FaceverError as error:
        raise ModelFileError(
            f"{path}: the network does not fit what its header says ({error}); write "
            "the header anew with facever model import"
        ) from None
    return LoadedModel(network, header, preprocessing, fingerprint.hexdigest())


def runtime_error(path: Path, runtime: str, error: Exception) -> ModelFileError:
    """What a runtime says of a network that it cannot load or compute, as one line."""
    reason = " ".join(str(error).split())[:300]
    return ModelFileError(f"{path} cannot be run by {runtime}: {reason}")


def _check_image_size(header: ModelHeader, image: ImageInput) -> None:
    for side, said, taken in (
        ("height", header.crop_height, image.height),
        ("width", header.crop_width, image.width),
    ):
        if taken not in (None, said):
            raise MismatchError(f"crop_{side} is {said} there, {taken} in the network")
