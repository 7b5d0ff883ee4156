"""Pair sets in the folders and lists that they are published in, with drawn photos."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

NUM_PEOPLE = 20


def names(pattern: str) -> list[list[str]]:
    """Two photos of each person."""
    return [[pattern.format(p=p, n=n) for n in (1, 2)] for p in range(NUM_PEOPLE)]


def couples(photos: list[list[str]]) -> list[tuple[str, str, bool]]:
    """By tenths: two pairs of one person, two of neighbours."""
    found = []
    for fold in range(10):
        people = photos[2 * fold], photos[2 * fold + 1]
        found += [(one, other, True) for one, other in people]
        found += [(people[0][i], people[1][1 - i], False) for i in (0, 1)]
    return found


def flat_in_two_lines(root: Path, number_of: Callable[[int, bool], int], order) -> Path:
    path = root / "pairs.txt"
    listed = couples(names("Per_son{p}_000{n}.jpg"))
    lines = []
    for place, (a, b, same) in sorted(enumerate(listed), key=order):
        number = number_of(place // 4 + 1, same)
        lines += [f"{a} {number}", f"{b} {number}"]
    path.write_text("\n".join(lines) + "\n")
    return path


def calfw(root: Path) -> tuple[str, Path, str, list[list[str]]]:
    pairs = flat_in_two_lines(
        root, lambda fold, same: fold * same, lambda each: not each[1][2]
    )
    return "pairs", pairs, "aligned images", names("Per_son{p}_000{n}.jpg")


def cplfw(root: Path) -> tuple[str, Path, str, list[list[str]]]:
    pairs = flat_in_two_lines(root, lambda _, same: int(same), lambda each: each[0])
    return "pairs", pairs, "aligned images", names("Per_son{p}_000{n}.jpg")


def agedb(root: Path) -> tuple[str, Path, str, list[list[str]]]:
    photos = names("{p}{n}_Per Son{p}_3{n}_f.jpg")
    pairs = root / "agedb_30_pairs.csv"
    pairs.write_text(
        "".join(f"{a},{b},{int(same)}\n" for a, b, same in couples(photos))
    )
    return "pairs", pairs, "AgeDB", photos


def in_lfws_form(root: Path, person: str, header: str) -> Path:
    lines = [header] * bool(header)
    for fold in range(10):
        one, other = (person.format(p=2 * fold + i) for i in (0, 1))
        lines += [f"{one}\t1\t2", f"{other}\t1\t2"]
        lines += [f"{one}\t1\t{other}\t2", f"{one}\t2\t{other}\t1"]
    path = root / "pairs.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def rfw(root: Path) -> tuple[str, Path, str, list[list[str]]]:
    pairs = in_lfws_form(root, "m.0x{p}", "")
    return "pairs", pairs, "data/African", names("m.0x{p}/m.0x{p}_000{n}.jpg")


def xqlfw(root: Path) -> tuple[str, Path, str, list[list[str]]]:
    pairs = in_lfws_form(root, "Per_son{p}", "10\t2")
    photos = names("Per_son{p}/Per_son{p}_000{n}.jpg")
    return "lfw", pairs, "xqlfw_aligned_112", photos


def cfp(root: Path) -> tuple[str, Path, str, list[list[str]]]:
    photos = [
        [f"{p + 1:03d}/{side}/01.jpg" for side in ("frontal", "profile")]
        for p in range(NUM_PEOPLE)
    ]
    protocol = root / "Protocol"
    for fold in range(10):
        folder = protocol / f"Split/FP/{fold + 1:02d}"
        folder.mkdir(parents=True)
        a, b = 2 * fold + 1, 2 * fold + 2
        (folder / "same.txt").write_text(f"{a},{a}\n{b},{b}\n")
        (folder / "diff.txt").write_text(f"{a},{b}\n{b},{a}\n")
    for place, side in enumerate("FP"):
        (protocol / f"Pair_list_{side}.txt").write_text(
            "".join(
                f"{p + 1} ../Data/Images/{each[place]}\n"
                for p, each in enumerate(photos)
            )
        )
    return "cfp-fp", protocol, "Data/Images", photos


@pytest.mark.parametrize("layout", [calfw, cplfw, agedb, rfw, xqlfw, cfp])
def test_a_published_layout_is_evaluated_as_it_is(
    tmp_path: Path, make_model: Callable[..., Path], command: Callable[..., Any], layout
) -> None:
    protocol, pairs, below, photos = layout(tmp_path)
    rng = np.random.default_rng(0)
    images = tmp_path / below
    for person in photos:
        coarse = rng.integers(20, 230, (7, 6, 3)).astype(np.uint8)
        for name in person:
            path = images / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), cv2.resize(coarse, (96, 112)))
    store, out = tmp_path / "crops", tmp_path / "out"
    assert command("align", images, store, "--detector", "crops").code == 0
    model = make_model(tmp_path / "m.safetensors")
    arguments = (model, "--crops", store, "--pairs", pairs, "--out", out, "--no-pca")
    finished = command("evaluate", protocol, *arguments)
    assert finished.code == 0, finished.err
    numbers = json.loads((out / "report.json").read_text())
    assert numbers["pairs"] == {
        "num_pairs": 40,
        "num_genuine": 20,
        "num_impostor": 20,
        "num_folds": 10,
    }
    assert numbers["models"][0]["missing"]["num_pairs"] == 0
    # Both photos of a person are one picture.
    with (out / "scores.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert (float(row["score"]) > 0.9999) == (row["same"] == "1")
    # People are known by the names of their photos.
    assert numbers["models"][0]["bootstrap"]["num_identities"] == NUM_PEOPLE
