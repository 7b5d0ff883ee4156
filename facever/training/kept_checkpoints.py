"""Earlier checkpoints beside the newest one, to go back to."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from facever.files import whole_file


@dataclass(frozen=True)
class KeptCheckpoints:
    """Which checkpoints stay, as ``checkpoint-00004000.pt`` beside ``checkpoint.pt``.

    A run goes on from ``checkpoint.pt``; copy another one over it to go back.

    Attributes:
        last: How many of the newest, at least 1; 1 keeps ``checkpoint.pt`` alone.
        milestones: Steps whose checkpoints stay for good.
    """

    last: int = 1
    milestones: tuple[int, ...] = ()

    def keep(self, path: Path, step: int) -> None:
        """After a checkpoint was saved; again does no harm.

        Args:
            path: The newest checkpoint.
            step: Of it.
        """
        if self.last > 1 or step in self.milestones:
            numbered = _numbered(path, step)
            if not numbered.exists():
                with whole_file(numbered) as temporary:
                    temporary.unlink(missing_ok=True)
                    _link(path, temporary)
        steps = sorted(int(each.stem[-8:]) for each in path.parent.glob(_pattern(path)))
        passing = [each for each in steps if each not in self.milestones]
        newest = set(steps[-self.last :]) if self.last > 1 else set()
        for each in passing:
            if each not in newest:
                _numbered(path, each).unlink()


def _numbered(path: Path, step: int) -> Path:
    return path.with_name(f"{path.stem}-{step:08d}{path.suffix}")


def _pattern(path: Path) -> str:
    return f"{path.stem}-{'[0-9]' * 8}{path.suffix}"


def _link(path: Path, other: Path) -> None:
    """A second name: the next checkpoint takes the first one and not the content."""
    try:
        os.link(path, other)
    except OSError:  # A file system without second names.
        shutil.copyfile(path, other)
