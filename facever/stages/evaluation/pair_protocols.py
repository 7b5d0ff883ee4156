"""The protocols whose pairs are photos listed in a file: ``PAIR_PROTOCOLS``.

``facever evaluate`` has a command for each row. This module imports neither NumPy nor a
reader, because the command's help is made from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from facever.choices import DEFAULT_FACE, FaceRule

if TYPE_CHECKING:
    from facever.verification.protocols import PairList


@dataclass(frozen=True)
class PairReading:
    """How a user wants a list of pairs to be read.

    Attributes:
        columns: The columns of the first photo, the second photo, the truth and, if
            there is one, the fold, by name or by number from 1, with commas between;
            empty to find them.
        unique: Whether to drop pairs that were listed before, in either order, and
            pairs of a photo with itself.
    """

    columns: str = ""
    unique: bool = False


AS_LISTED = PairReading()
"""Columns are found, and every pair counts as often as it is listed."""


@dataclass(frozen=True)
class PairProtocol:
    """A protocol of pairs: how its list is read and what is said about it.

    Attributes:
        title: The protocol's name in reports; None takes the name of the list's file.
        reader: The function that reads the list, as ``"module:function"``. It takes a
            path and the fields of a ``PairReading`` and returns a ``PairList``.
        face: Which face of a photo is meant, where there are several.
        help: What ``facever evaluate NAME --help`` says about the protocol.
        pairs_help: What it says about the file that lists the pairs.
    """

    title: str | None
    reader: str
    face: FaceRule
    help: str
    pairs_help: str

    def read(self, path: Path, reading: PairReading = AS_LISTED) -> "PairList":
        """Read the file that lists the pairs.

        Raises:
            FaceverError: If the file is missing or malformed.
        """
        module, function = self.reader.split(":")
        read: Callable[..., PairList] = getattr(import_module(module), function)
        return read(path, columns=reading.columns, unique=reading.unique)


_CFP_PAIRS = (
    "The folder Protocol of CFP, with Pair_list_F.txt, Pair_list_P.txt and Split."
)

PAIR_PROTOCOLS: Mapping[str, PairProtocol] = MappingProxyType(
    {
        "lfw": PairProtocol(
            title="LFW",
            reader="facever.verification.protocols.pair_lists:read_pair_list",
            # LFW's photos are centred on the person that they are named after.
            face="center",
            help="Evaluate LFW: 6,000 pairs of photos in 10 folds.\n\nFor View 1, on "
            "which models are chosen, give --pairs twice: first pairsDevTrain.txt, "
            "then pairsDevTest.txt. The threshold and the PCA come from the first "
            "file, the accuracy from the second; the numbers go to view_1.json.",
            pairs_help="The official pairs.txt or another list of its pairs, or View "
            "1's two files.",
        ),
        "pairs": PairProtocol(
            title=None,
            reader="facever.verification.protocols.pair_lists:read_pair_list",
            face=DEFAULT_FACE,
            help="Evaluate your own list of pairs.",
            pairs_help="The list: lines 'photo photo 1', LFW's form, or a CSV file "
            "with columns such as left, right, same and perhaps fold.",
        ),
        "cfp-ff": PairProtocol(
            title="CFP-FF",
            reader="facever.verification.protocols.cfp:read_cfp_ff",
            face=DEFAULT_FACE,
            help="Evaluate CFP's frontal-frontal pairs: 7,000 in 10 folds.",
            pairs_help=_CFP_PAIRS,
        ),
        "cfp-fp": PairProtocol(
            title="CFP-FP",
            reader="facever.verification.protocols.cfp:read_cfp_fp",
            face=DEFAULT_FACE,
            help="Evaluate CFP's frontal-profile pairs: 7,000 in 10 folds.",
            pairs_help=_CFP_PAIRS,
        ),
    }
)
