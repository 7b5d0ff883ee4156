"""What became of attempts to do harm, counted."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facever.errors import FaceverError

TINY = {"width": 1 / 16, "embedding_size": 16}
"""Options of a resnet27 that takes milliseconds."""

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
"""For commands that are run: they are of this checkout."""


@dataclass
class Count:
    """What became of some attempts.

    Attributes:
        tried: How many there were.
        found: Was noticed, said, and put right without losing anything.
        refused: Ended with one of facever's errors, a line.
        harmless: Changed nothing that is read, or gave an answer that may be given.
        wrong: Gave something else without a word, or an error that is not facever's.
        lost: Acknowledged changes that were gone.
    """

    tried: int = 0
    found: int = 0
    refused: int = 0
    harmless: int = 0
    wrong: int = 0
    lost: int = 0

    def try_one(self, read: Callable[[], bool]) -> None:
        """Count an attempt; ``read`` says whether what it read is right."""
        self.tried += 1
        try:
            right = read()
        except FaceverError as error:
            self.refused += 1
            self.wrong += "\n" in str(error)
        except Exception as error:
            print(f"not facever's: {error!r}", file=sys.stderr)
            self.wrong += 1
        else:
            self.harmless += right
            self.wrong += not right
