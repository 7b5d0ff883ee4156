"""Networks that a user fetches from their makers; facever only knows where, and which.

Nothing is fetched but by ``facever model get``. A new one is a row in ``DOWNLOADS``.
"""

import hashlib
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from facever.errors import FileError
from facever.progress import Advance

_BLOCK = 1 << 20
_SECONDS_TO_ANSWER = 30


@dataclass(frozen=True)
class Download:
    """A file of a network.

    Attributes:
        title: The network and what its makers say of its licence, in words.
        address: Where its makers publish it.
        sha256: SHA-256 of the file there, in hexadecimal digits.
        num_bytes: The size of the file there.
        member: Name of the network in that file, where it is a zip; None where the file
            is the network.
        preset: How the network wants its crops, a row of ``PRESETS``.
        training_data: What it was trained on.
        licence: The licence of the weights.
    """

    title: str
    address: str
    sha256: str
    num_bytes: int
    member: str | None
    preset: str
    training_data: str
    licence: str

    @property
    def file_name(self) -> str:
        """The name of the file there."""
        return self.address.rsplit("/", 1)[-1]

    @property
    def suffix(self) -> str:
        """The suffix of the network's own file, with the dot."""
        return Path(self.member or self.file_name).suffix


_INSIGHTFACE = "https://github.com/deepinsight/insightface/releases/download/v0.7/"
_RESEARCH = "non-commercial research only, as InsightFace states"

DOWNLOADS: dict[str, Download] = {
    "w600k_r50": Download(
        "InsightFace's w600k_r50 (IResNet-50), of the pack buffalo_l",
        f"{_INSIGHTFACE}buffalo_l.zip",
        "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f",
        288_621_354,
        "w600k_r50.onnx",
        "insightface",
        "WebFace600K",
        _RESEARCH,
    ),
    "w600k_mbf": Download(
        "InsightFace's w600k_mbf (MobileFaceNet), of the pack buffalo_sc",
        f"{_INSIGHTFACE}buffalo_sc.zip",
        "57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72",
        14_969_382,
        "w600k_mbf.onnx",
        "insightface",
        "WebFace600K",
        _RESEARCH,
    ),
    "facenet-vggface2": Download(
        "facenet-pytorch's InceptionResnetV1, trained on VGGFace2",
        "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/"
        "20180402-114759-vggface2.pt",
        "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
        111_898_327,
        None,
        "facenet-pytorch",
        "VGGFace2",
        "not stated for the weights",
    ),
}


def fetch(download: Download, path: Path, advance: Advance) -> None:
    """Bring the file of a download to a path, and check it.

    Args:
        download: What to fetch.
        path: Where to write it.
        advance: Progress, one unit a byte.

    Raises:
        FileError: If the address does not answer or gives another file; the message
            says what to do without a network.
    """
    by_hand = (
        f"fetch {download.address} by other means (SHA-256 {download.sha256}) and name "
        f"it: --file {download.file_name}"
    )
    try:
        with (
            urllib.request.urlopen(
                download.address, timeout=_SECONDS_TO_ANSWER
            ) as answer,
            path.open("wb") as file,
        ):
            # One byte more tells a file that is too long.
            left = download.num_bytes + 1
            while left and (block := answer.read(min(_BLOCK, left))):
                file.write(block)
                left -= len(block)
                advance(len(block))
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise FileError(
            f"{download.address} does not answer ({reason}); {by_hand}"
        ) from None
    check(download, path)


def check(download: Download, path: Path) -> None:
    """Refuse a file that is not the one of a download.

    Raises:
        FileError: If it is missing or another.
    """
    if not path.is_file():
        raise FileError(f"there is no file {path}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != download.sha256:
        raise FileError(
            f"{path} is not the file that facever knows as {download.address}: its "
            f"SHA-256 is {digest}, not {download.sha256}; fetch it again"
        )


def unpack(download: Download, path: Path, out: Path) -> None:
    """Write the network in a checked file to a path of its own.

    Args:
        download: What the file is.
        path: The file.
        out: Where to write the network.
    """
    assert download.member is not None
    with zipfile.ZipFile(path) as archive:
        [name] = [
            each
            for each in archive.namelist()
            if each.rsplit("/", 1)[-1] == download.member
        ]
        with archive.open(name) as source, out.open("wb") as file:
            while block := source.read(_BLOCK):
                file.write(block)
