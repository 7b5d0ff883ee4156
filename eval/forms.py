"""Files as people have them: what facever makes of each, beside what is right.

    python eval/forms.py CASES

CASES has a folder for each kind of file in ``KINDS``, such as ``rec`` or ``pairs``.
Each input goes through the command that its kind names; printed are the input, what is
right, and what was said. Ends with 1 if anything else was said than ``RIGHT`` expects,
or an error was raised that is none of ours. Inputs without an expectation are shown.

Lists of pairs and ``.bin`` are judged as ``facever evaluate`` judges them, but without
its report, whose pictures take seconds. A ``.bin`` is compared by its pixels.

Photos and embeddings come from the data folder: ``--data``, or
FACEVER_DATA, or the folder ``data`` beside CASES. Takes a quarter of a minute.
"""

import argparse
import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from functools import cache, partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from facever.cli import main as facever
from facever.data.sources.bin_photos import read_bin_file
from facever.data.store.crop_store import CropStore
from facever.data.store.folder import FAILURES_FILE
from facever.errors import FaceverError
from facever.inference.embeddings_file import EmbeddingsFile, read_embeddings
from facever.verification.evaluation import evaluate_pairs
from facever.verification.protocols import (
    PairList,
    read_bin,
    read_pair_list,
    write_bin,
)
from facever.verification.rules import judge

Places = Mapping[str, Path]
Say = Callable[[Places], Iterator[str]]


class Kind(NamedTuple):
    """A kind of input.

    Attributes:
        files: Which paths below the kind's folder are inputs.
        needs: The places of data that it takes.
        say: The lines of the result.
    """

    files: str
    needs: tuple[str, ...]
    say: Say


class Right(NamedTuple):
    """What is right for an input.

    Attributes:
        words: In the words of the cases' own table.
        shown: Patterns, each of which must be found in what is said.
    """

    words: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """An input with its result.

    Attributes:
        input: Kind and name.
        expected: What is right; None where nothing is said about it.
        said: The lines of the result.
        verdict: ``right``, ``WRONG``, ``not judged`` or ``not run``.
    """

    input: str
    expected: str | None
    said: list[str]
    verdict: str


def _command(words: str, look: Say, places: Places) -> Iterator[str]:
    """What a command prints, without lines on time and progress, and its output."""
    out, errors = StringIO(), StringIO()
    sys.argv = ["facever", *(word.format(**places) for word in words.split())]
    with redirect_stdout(out), redirect_stderr(errors):
        try:
            facever()
        except SystemExit as stop:
            status = stop.code
    printed = errors if status else out
    for line in printed.getvalue().splitlines():
        if not re.search(r"aligned in |^report: |/s\)$", line):
            yield line.strip()
    yield from look(places)


def _nothing(places: Places) -> Iterator[str]:
    return iter(())


def _ledger(places: Places) -> Iterator[str]:
    """The reasons for photos without a crop."""
    if (places["out"] / FAILURES_FILE).exists():
        reasons = Counter(CropStore.open(places["out"]).failures.values())
        for reason, count in reasons.items():
            yield f"ledger: {count} x {reason}"


def _points(places: Places) -> Iterator[str]:
    """How many crops were cut at the points of the photos' public list."""
    if places["out"].exists():
        store = CropStore.open(places["out"])
        listed = (places["photos"] / "landmarks.txt").read_text().splitlines()
        fields = [line.split("\t") for line in listed]
        points = {name: np.array(numbers, float) for name, *numbers in fields}
        num_same = sum(
            np.array_equal(found.ravel(), points[source])
            for found, source in zip(store.landmarks, store.sources, strict=True)
        )
        yield f"{num_same} of {len(store)} crops at the points of the public list"


def _judge_bin(places: Places) -> Iterator[str]:
    pairs, accuracies = _accuracies(places["input"])
    yield from _say_pairs(pairs)
    for rule, accuracy in accuracies.items():
        yield f"accuracy of pixels by the rule {rule}: {100 * accuracy:.3f} %"
    rewritten = places["scratch"] / "bools.bin"
    write_bin(rewritten, *read_bin_file(places["input"]))
    same = _accuracies(rewritten)[1] == accuracies
    yield f"the same pairs with bools: {'the same numbers' if same else 'OTHERS'}"


def _accuracies(path: Path) -> tuple[PairList, dict[str, float]]:
    pair_set = read_bin(path)
    decoded = pair_set.decode()
    pixels = decoded.crops[:, ::8, ::8].reshape(len(decoded.crops), -1) - 127.5
    return pair_set.pairs, {
        "exact": evaluate_pairs(pixels, decoded.sources, pair_set.pairs).accuracy,
        "insightface": judge(
            pixels, decoded.sources, pair_set.pairs, "insightface"
        ).accuracy,
    }


def _judge_pairs(places: Places) -> Iterator[str]:
    file, pairs = _embeddings(places["embeddings"]), read_pair_list(places["input"])
    found = evaluate_pairs(file.embeddings, file.images, pairs)
    yield from _say_pairs(pairs)
    if found.missing:
        yield f"{len(found.missing)} photos are missing"
    yield f"accuracy: {100 * found.accuracy:.3f} %"


def _say_pairs(pairs: PairList) -> Iterator[str]:
    yield f"{np.count_nonzero(pairs.same)} genuine of {len(pairs)} pairs"
    yield from pairs.notes


@cache
def _embeddings(path: Path) -> EmbeddingsFile:
    return read_embeddings(path)


def _kind(
    files: str, words: str, look: Say = _nothing, needs: Sequence[str] = ()
) -> Kind:
    return Kind(files, tuple(needs), partial(_command, words, look))


KINDS: dict[str, Kind] = {
    "rec": _kind(
        "**/*.rec", "align {input} {out} --detector crops --workers 1", _ledger
    ),
    "bin": Kind("*.bin", (), _judge_bin),
    "pairs": Kind("*", ("embeddings",), _judge_pairs),
    "landmarks": _kind(
        "*", "align {photos} {out} --landmarks {input} --workers 1", _points, ["photos"]
    ),
    "tar": _kind("*.tar", "align {input} {out} --workers 1", _ledger),
    "npz": _kind("*.npz", "gallery add {out} {input}"),
    "images": _kind("*", "align {input} {out} --workers 1", _ledger),
    "yaml": _kind("*", "train {input}"),
    "gallery": _kind("*", "gallery info {input}"),
}

_ONE_LINE = r"^facever: \S+: "
_BY_INSIGHTFACE = r"by the rule insightface: \d"
_ODD = Right(
    "a number by InsightFace's rule, with a word on what that rule does to such a file",
    (_BY_INSIGHTFACE, r"other projects' rules .* keep the list's own \d+ folds, of "),
)
_AS_BOOLS = Right(
    "read: the same result as the same pairs with bools",
    (_BY_INSIGHTFACE, "20 genuine of 40", "with bools: the same numbers"),
)
_OFFICIAL = ("3000 genuine of 6000", r"accuracy: 98\.867 %")
_DEALT = Right(
    "folds dealt, said: 98.933 %",
    ("dealt in turn into 10 folds", "3000 genuine of 6000", r"accuracy: 98\.933 %"),
)
_READ = ("^40 of 40 crops at the points",)
_MATCHED = Right(
    "matched, or the two names shown", (*_READ, "' in the list .* is taken for '")
)
_NO_FORMAT = Right(
    "ledger: not a photo format that is read", ("ledger: 1 x not an image that can",)
)


def _refused(what: str) -> Right:
    return Right("refused, with the reason", (f"^facever: landmarks: .*{what}",))


def _one_line(what: str) -> Right:
    return Right("one line", (f"{_ONE_LINE}.*{what}",))


def _people(num_photos: int, num_people: int) -> Right:
    shown = f"^{num_people} people in {num_photos} photos", f"{num_photos} crops of"
    return Right(f"{num_photos} photos, {num_people} people", shown)


# The right column of the cases' own table.
RIGHT: dict[str, Right] = {
    "rec/one-photo-removed": _people(37, 8),
    "rec/one-person-removed": _people(27, 7),
    "rec/two-sets-joined": _people(47, 12),
    "rec/two-label-and-one-label": _people(38, 8),
    "bin/four-pairs-genuine-first.bin": _ODD,
    "bin/py3_7pairs.bin": _ODD,
    "bin/py3_allsame.bin": Right(
        "only genuine pairs: say that no threshold can be chosen",
        (f"{_ONE_LINE}no threshold can be chosen",),
    ),
    "bin/py3_int_truth.bin": _AS_BOOLS,
    "bin/py3_npbool.bin": _AS_BOOLS,
    "bin/py2_proto1.bin": _AS_BOOLS,
    "pairs/a_testpair.txt": Right(
        "98.867 %; folds in the file's order", (*_OFFICIAL, "its ten tenths are taken")
    ),
    "pairs/c_all_matched_first_nohead.txt": _DEALT,
    "pairs/f_shuffled_nohead.txt": _DEALT,
    "pairs/j_kaggle_pairs.csv": Right("98.867 %", _OFFICIAL),
    "pairs/l_other_names.csv": Right("read", (*_OFFICIAL, "left is img1, right is")),
    "pairs/q_index_col.csv": Right("read", _OFFICIAL),
    "pairs/v_fold0.csv": Right("read", _OFFICIAL),
    "pairs/s_backslash.csv": Right("read", _OFFICIAL),
    "pairs/n_dup.csv": Right(
        "read: the repeated pair counts as often as it is listed, and that is said",
        (
            "listed again: 1, .* kept as listed",
            "3001 genuine of 6001",
            r"accuracy: 98\.867 %",
        ),
    ),
    "landmarks/ok.txt": Right("faces", _READ),
    "landmarks/subject_left.txt": _refused("the left eye lies right of the right eye"),
    "landmarks/eyes_only_swapped.txt": _refused("the left eye lies right of the right"),
    "landmarks/mouth_swapped.txt": _refused("corner of the mouth lies right of"),
    "landmarks/yx.txt": _refused("x and y are exchanged in 40 of 40"),
    "landmarks/normalised01.txt": _refused(r"as in units of the photo's size"),
    "landmarks/wrong_size.txt": _refused("as if they were of a larger copy"),
    "landmarks/celeba.txt": Right("read", _READ),
    "landmarks/spaces.txt": Right("read", _READ),
    "landmarks/commas.csv": Right("read", _READ),
    "landmarks/lst_insightface.txt": Right("read", _READ),
    "landmarks/backslash.txt": _MATCHED,
    "landmarks/basename.txt": _MATCHED,
    "landmarks/noext.txt": _MATCHED,
    "tar/json_label.tar": Right("6 people of 3", _people(18, 6).shown),
    "tar/train_prefix.tar": Right(
        "6 people, or a warning that names the folder to give",
        (r"^facever: train/ would be 1 person .* --identity parent .* \(6 people\)",),
    ),
    "tar/pax-size-neg.tar": _one_line("a size of -5 bytes"),
    "tar/pax-sparse-bad.tar": _one_line("the header is damaged"),
    "tar/pax8G.tar": _one_line("a header of over 1048576 bytes"),
    "tar/size-8EB.tar": Right("one line", ("ledger: 1 x .* the tar file is cut off",)),
    "tar/json-lm-huge-int.tar": Right("one line", ("ledger: 1 x its landmarks are",)),
    "npz/bz2-bad.npz": _one_line("cannot read the array 'embeddings'"),
    "npz/cd.npz": _one_line("cannot read the array 'embeddings'"),
    "npz/enc.npz": _one_line("encrypted"),
    "npz/lzma-bad.npz": _one_line("cannot read the array 'embeddings'"),
    "npz/m99.npz": _one_line("compression method is not supported"),
    "npz/mut-104.npz": _one_line("cannot read the array 'embeddings'"),
    "npz/mut-118.npz": _one_line("cannot read the array 'images'"),
    "npz/mut-153.npz": _one_line("cannot read the array 'images'"),
    "images/eps.jpg": _NO_FORMAT,
    "images/svg.jpg": _NO_FORMAT,
    "images/progressive-250-scans.jpg": Right(
        "ledger: too many scans",
        ("ledger: 1 x too many scans: ",),
    ),
    "yaml/laughs-in-out.yaml": Right(
        "one line", ("^facever: config .* holds over 10000 values",)
    ),
    "gallery/foreign-trigger": Right("refused at opening", ("^facever: .*trigger",)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    beside = options.cases.absolute().parent / "data"
    data = options.data or Path(os.environ.get("FACEVER_DATA", beside))
    places = {
        "photos": data / "lfw-original-sample",
        "embeddings": data / "embeddings/lfw-mobilefacenet-128d.npz",
    }
    rows = []
    for row in try_inputs(options.cases, places):
        rows.append(row)
        if not options.json:
            show(row)
    counts = Counter(row.verdict for row in rows)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        print(", ".join(f"{number} {verdict}" for verdict, number in counts.items()))
    sys.exit("WRONG" in counts)


def try_inputs(cases: Path, places: Places) -> Iterator[Row]:
    """The results of all inputs, kind by kind."""
    for kind in KINDS:
        for name, path in find_inputs(cases / kind, KINDS[kind].files):
            yield try_input(places, kind, name, path)
    for folder in sorted(path for path in cases.iterdir() if path.is_dir()):
        if folder.name not in KINDS:
            yield Row(folder.name, None, ["no kind of this name is known"], "not run")


def find_inputs(folder: Path, files: str) -> Iterator[tuple[str, Path]]:
    """The inputs of a kind, with their names."""
    for path in sorted(folder.glob(files)):
        own = path.relative_to(folder)
        # Of a folder that holds train.rec, the folder's name tells more.
        yield str(own.parent if len(own.parts) > 1 else own), path


def try_input(places: Places, kind: str, name: str, path: Path) -> Row:
    """What is said of an input, and whether that is right."""
    right = RIGHT.get(f"{kind}/{name}")
    lacking = [places[need] for need in KINDS[kind].needs if not places[need].exists()]
    if lacking:
        said, verdict = [f"takes {lacking[0]}; give its folder with --data"], "not run"
    else:
        with TemporaryDirectory() as scratch:
            own = {"input": path, "scratch": Path(scratch)}
            own["out"] = own["scratch"] / "out"
            if path.is_dir():
                # A gallery that is opened may be changed.
                own["input"] = own["scratch"] / "copy"
                shutil.copytree(path, own["input"], copy_function=shutil.copyfile)
            said, is_ours = _say(KINDS[kind].say, {**places, **own})
            verdict = _judge(said, right) if is_ours else "WRONG"
    return Row(f"{kind}/{name}", right and right.words, said, verdict)


def show(row: Row) -> None:
    print(f"{row.input}: {row.verdict}")
    print(f"    expected: {row.expected or 'nothing is known of this file'}")
    print(*(f"    said: {line}" for line in row.said), sep="\n", flush=True)


def _say(say: Say, places: Places) -> tuple[list[str], bool]:
    """The lines of the result, with short paths, and whether its errors are ours."""
    said, is_ours = [], True
    try:
        said.extend(say(places))
    except FaceverError as error:
        said.append(f"facever: {error}")
    except Exception as error:
        said.append(f"TRACEBACK {type(error).__name__}: {error}")
        is_ours = False
    for place in ("input", "out"):
        said = [line.replace(str(places[place]), places[place].name) for line in said]
    return said, is_ours


def _judge(said: Sequence[str], right: Right | None) -> str:
    if right is None:
        return "not judged"
    text = "\n".join(said)
    found = all(re.search(pattern, text, re.MULTILINE) for pattern in right.shown)
    return "right" if found else "WRONG"


if __name__ == "__main__":
    main()
