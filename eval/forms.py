"""Files as people have them: what facever makes of each, beside what is right.

    python eval/forms.py CASES --embeddings lfw-mobilefacenet-128d.npz

CASES has a folder for each kind of file in ``KINDS``, such as ``rec`` or ``pairs``. A
line is printed for each input, with its result and what is expected; inputs without an
expectation are printed too. Ends with 1 if a result is another. Takes half a minute.

The lists in ``pairs`` are of LFW's pairs of View 2, and are judged by our rule with the
embeddings of LFW's photos. The photos in ``bin`` are compared by their pixels.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facever.data.sources.any_source import find_photos
from facever.errors import FaceverError, PhotoError
from facever.faces.photos import DEFAULT_MAX_PIXELS
from facever.inference.embeddings_file import EmbeddingsFile, read_embeddings
from facever.verification.evaluation import evaluate_pairs
from facever.verification.protocols import PairList, read_bin, read_pair_list
from facever.verification.rules import judge


class Kind(NamedTuple):
    """A kind of input.

    Attributes:
        read: Gives the result in words for an input and the embeddings of LFW.
        expected: What is right, by the name of the input.
    """

    read: Callable[[Path, Path], str]
    expected: Mapping[str, str]


def _read_rec(folder: Path, embeddings: Path) -> str:
    listing = find_photos(folder / "train.rec")
    people = []
    for photo in listing.photos:
        try:
            photo.read(DEFAULT_MAX_PIXELS)
            people.append(photo.identity)
        except PhotoError:
            continue
    return _say(f"{len(people)} photos, {len(set(people))} people", listing.notes)


def _read_bin(path: Path, embeddings: Path) -> str:
    pair_set = read_bin(path)
    pairs = pair_set.pairs
    decoded = pair_set.decode()
    pixels = decoded.crops[:, ::8, ::8].reshape(len(decoded.crops), -1) - 127.5
    accuracies = [judge(pixels, decoded.sources, pairs, "insightface").accuracy]
    accuracies.append(evaluate_pairs(pixels, decoded.sources, pairs).accuracy)
    assert np.isfinite(accuracies).all()
    counts = f"{np.count_nonzero(pairs.same)} genuine of {len(pairs)} pairs"
    return _say(f"{counts}, judged by InsightFace's rule and ours", _said(pairs))


def _read_pairs(path: Path, embeddings: Path) -> str:
    file, pairs = _embeddings(embeddings), read_pair_list(path)
    found = evaluate_pairs(file.embeddings, file.images, pairs)
    assert not found.missing
    return _say(f"{100 * found.accuracy:.3f} %", _said(pairs))


@cache
def _embeddings(path: Path) -> EmbeddingsFile:
    return read_embeddings(path)


def _said(pairs: PairList) -> list[str]:
    """The notes in a word each."""
    words = {"dealt in turn": "folds dealt", "listed again: 1": "one pair twice"}
    notes = "; ".join(pairs.notes)
    return [word for sign, word in words.items() if sign in notes]


def _say(result: str, notes: tuple[str, ...] | list[str]) -> str:
    return "; ".join([result, *notes])


_JUDGED = "pairs, judged by InsightFace's rule and ours"
_NO_THRESHOLD = "no threshold can be chosen"

KINDS: dict[str, Kind] = {
    "rec": Kind(
        _read_rec,
        {
            "one-photo-removed": "37 photos, 8 people",
            "one-person-removed": "27 photos, 7 people",
            "two-sets-joined": "47 photos, 12 people",
            "two-label-and-one-label": "38 photos, 8 people",
        },
    ),
    "bin": Kind(
        _read_bin,
        {
            "four-pairs-genuine-first.bin": f"2 genuine of 4 {_JUDGED}; folds dealt",
            "py3_7pairs.bin": f"3 genuine of 7 {_JUDGED}; folds dealt",
            "py3_allsame.bin": _NO_THRESHOLD,
            "py3_int_truth.bin": f"20 genuine of 40 {_JUDGED}",
            "py3_npbool.bin": f"20 genuine of 40 {_JUDGED}",
            "py2_proto1.bin": f"20 genuine of 40 {_JUDGED}",
        },
    ),
    "pairs": Kind(
        _read_pairs,
        {
            "a_testpair.txt": "98.867 %",
            "c_all_matched_first_nohead.txt": "98.933 %; folds dealt",
            "f_shuffled_nohead.txt": "98.933 %; folds dealt",
            "j_kaggle_pairs.csv": "98.867 %",
            "l_other_names.csv": "98.867 %",
            "q_index_col.csv": "98.867 %",
            "v_fold0.csv": "98.867 %",
            "s_backslash.csv": "98.867 %",
            "n_dup.csv": "98.867 %; one pair twice",
        },
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", type=Path)
    parser.add_argument("--embeddings", type=Path, required=True)
    options = parser.parse_args()

    num_wrong = 0
    for name, kind in KINDS.items():
        for path in sorted((options.cases / name).iterdir()):
            try:
                result = kind.read(path, options.embeddings)
            except FaceverError as error:
                result = str(error).removeprefix(f"{path}: ")
            expected = kind.expected.get(path.name)
            is_right = expected is None or _agree(result, expected)
            num_wrong += not is_right
            mark = "" if is_right else "WRONG "
            print(f"{name}/{path.name}: {result}")
            print(f"    {mark}expected: {expected or 'nothing in particular'}")
    sys.exit(num_wrong > 0)


def _agree(result: str, expected: str) -> bool:
    """An error is known by its beginning, everything else has to be the same."""
    return result == expected or (
        expected == _NO_THRESHOLD and result.startswith(expected)
    )


if __name__ == "__main__":
    main()
