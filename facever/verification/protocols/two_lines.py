"""The form of CALFW's and CPLFW's lists: a pair is two lines, each with a photo.

Behind the photo of both lines stands the same number: 0 for a pair of two people. For a
pair of one person it is 1 in ``pairs_CPLFW.txt`` and the fold, from 1 to 10, in
``pairs_CALFW.txt``, which names no folds of the others.

References:
    Zheng et al., Cross-Age LFW, 2017.
    Zheng and Deng, Cross-Pose LFW, 2018.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from facever.errors import DataError
from facever.verification.protocols.listed_pairs import ListedPair, make_pair_list
from facever.verification.protocols.pairs import PairList
from facever.verification.protocols.text import Row


def are_two_lines(rows: Sequence[Row]) -> bool:
    """Whether most rows are a photo and a whole number, and nothing else."""
    matching = sum(len(row.fields) == 2 and row.fields[1].isdigit() for row in rows)
    return 2 * matching > len(rows) > 1


def pairs_of_two_lines(
    path: Path, rows: Sequence[Row], unique: bool = False, said: Sequence[str] = ()
) -> PairList:
    """The pairs of a file in this form.

    Where genuine pairs name their folds and impostor pairs none, impostor pairs are
    divided into as many consecutive parts, and that is said.

    Args:
        path: The file, for messages.
        rows: Its rows.
        unique: See ``make_pair_list``.
        said: What is to be said of the file already.

    Raises:
        DataError: If a row is not of this form, or the two lines of a pair have
            different numbers.
    """
    for row in rows:
        if len(row.fields) != 2 or not row.fields[1].isdigit():
            raise DataError(
                f"{path}, line {row.line}: expected a photo and a whole number, as in "
                f"the other lines, got {' '.join(row.fields)!r}"
            )
    if len(rows) % 2:
        raise DataError(
            f"{path}, line {rows[-1].line}: expected two lines for each pair, and the "
            "last has one"
        )
    couples = [(rows[i], rows[i + 1]) for i in range(0, len(rows), 2)]
    listed: list[ListedPair] = []
    for first, second in couples:
        (left, number), (right, other) = first.fields, second.fields
        if number != other:
            raise DataError(
                f"{path}, line {second.line}: expected the number of the line before, "
                f"{number}, since the two are a pair; got {other}"
            )
        listed.append(
            ListedPair(
                where=f"line {first.line}",
                left=left.replace("\\", "/"),
                right=right.replace("\\", "/"),
                same=number != "0",
                fold=int(number) or None,
                written=(left, right),
            )
        )
    num_folds = max(pair.fold or 0 for pair in listed)
    if num_folds < 2:  # The number says the truth alone.
        listed = [replace(pair, fold=None) for pair in listed]
        return make_pair_list(path, listed, unique, said)
    impostor = [pair for pair in listed if not pair.same]
    fold_of = {
        pair.where: 1 + place * num_folds // len(impostor)
        for place, pair in enumerate(impostor)
    }
    listed = [replace(pair, fold=pair.fold or fold_of[pair.where]) for pair in listed]
    note = (
        f"the list names the folds of genuine pairs alone, 1 to {num_folds}: impostor "
        f"pairs are divided into {num_folds} consecutive parts"
    )
    return make_pair_list(path, listed, unique, [*said, note])
