"""YouTube Faces: the official pairs of videos."""

from pathlib import Path

import numpy as np

from facever.errors import DataError
from facever.verification.protocols.pairs import PairList
from facever.verification.protocols.text import SeenPairs, is_count, read_lines

_FORM = "fold, number of the pair, person/video, person/video, 1 or 0"


def read_ytf_splits(path: Path) -> PairList:
    """Read the official pairs of YouTube Faces.

    A line is ``1, 2, Daniel_Bruehl/2, Daniel_Bruehl/3, 1``: the fold and the number of
    the pair in it, both from 1, two videos, and 1 if they show one person. Blank lines,
    and a first line that begins with ``split`` (column names), are skipped. The
    official file has 10 folds of 250 + 250 pairs; nothing is concluded from the names,
    as corrected lists have people under others' names.

    Args:
        path: The file, such as ``splits.txt``.

    Returns:
        Pairs of videos, in the order of the file; a video is ``"Daniel_Bruehl/2"``, the
        folder of its frames.

    Raises:
        FileError: If the file cannot be read.
        DataError: If a line is malformed, compares a video with itself or lists a pair
            again (the message names file and line), or the folds are not fit; see
            ``PairList``.

    References:
        Wolf, Hassner and Maoz, Face Recognition in Unconstrained Videos with Matched
        Background Similarity, 2011.
    """
    seen = SeenPairs()
    left: list[str] = []
    right: list[str] = []
    same: list[bool] = []
    fold: list[int] = []
    lines = read_lines(path, "YTF's splits file")
    if lines[0][1].lower().startswith("split"):
        lines = lines[1:]
    for number, line in lines:
        where = f"{path}, line {number}"
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 5:
            raise DataError(
                f"{where}: expected {_FORM}; got {len(fields)} fields: {line!r}"
            )
        for field in fields[:2]:
            if not is_count(field):
                raise DataError(
                    f"{where}: expected {_FORM}, with numbers from 1; got {field!r}"
                )
        for video in fields[2:4]:
            _check_video(where, video)
        if fields[4] not in ("0", "1"):
            raise DataError(f"{where}: expected {_FORM}; got {fields[4]!r} at the end")
        if fields[2] == fields[3]:
            raise DataError(f"{where}: expected two videos, got one twice: {line!r}")
        seen.add(path, number, fields[2], fields[3])
        fold.append(int(fields[0]) - 1)
        left.append(fields[2])
        right.append(fields[3])
        same.append(fields[4] == "1")
    return PairList(
        left, right, np.array(same, dtype=np.bool_), np.array(fold, dtype=np.int64)
    )


def _check_video(where: str, video: str) -> None:
    parts = video.split("/")
    if len(parts) != 2 or "\\" in video or {"", ".", ".."} & set(parts):
        raise DataError(f"{where}: expected {_FORM}; got the video {video!r}")
