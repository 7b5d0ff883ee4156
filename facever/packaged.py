"""Files of other projects that an installed package brings, such as a network's."""

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from facever.errors import ModelFileError


@dataclass(frozen=True)
class PackagedFile:
    """A file that an installed package brings, known by its content.

    Attributes:
        title: What it is, for messages, with its licence.
        package: The package, by the name it is imported by.
        file: Path of the file in the package's folder, with ``/``.
        sha256: SHA-256 of the file, in hexadecimal digits.
        extra: The extra of facever that installs the package.
        instead: What to do without it, the end of a message.
    """

    title: str
    package: str
    file: str
    sha256: str
    extra: str
    instead: str

    def find(self) -> Path:
        """Where the file is; its content is checked.

        The package is not imported: nothing of it runs.

        Raises:
            ModelFileError: If the package is not installed, or its file is another.
        """
        remedy = f"pip install '.[{self.extra}]' in a checkout of facever"
        spec = find_spec(self.package)
        if spec is None or spec.origin is None:
            raise ModelFileError(
                f"{self.title} comes with the package {self.package}, which is not "
                f"installed: {remedy}, or {self.instead}"
            )
        path = Path(spec.origin).parent / self.file
        if not path.is_file() or _digest(path) != self.sha256:
            raise ModelFileError(
                f"{path} is not the file of {self.title} that facever knows; install "
                f"the right version of {self.package}: {remedy}"
            )
        return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
