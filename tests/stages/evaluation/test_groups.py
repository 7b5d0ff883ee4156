import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Command = Callable[..., Any]
PHOTOS = [f"P{p:02d}/{n}.jpg" for p in range(20) for n in (1, 2, 3)]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 4)).repeat(3, axis=0) + rng.normal(size=(60, 4))
    np.savez(tmp_path / "e.npz", embeddings=vectors, images=np.array(PHOTOS))
    lines = ["left,right,same"]
    lines += [f"{a},{b},1" for a, b in combinations(PHOTOS, 2) if a[:3] == b[:3]]
    for _ in range(120):
        a, b = rng.choice(20, size=2, replace=False)
        lines.append(f"P{a:02d}/{rng.integers(1, 4)}.jpg,P{b:02d}/1.jpg,0")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    rows = [f"P{p:02d},{'FM'[p % 2]}" for p in range(20)]
    (tmp_path / "groups.csv").write_text("\n".join(["name,sex", *rows, "Eve,F"]))
    return (
        "--pairs", str(tmp_path / "pairs.csv"), "--no-pca",
        "--embeddings", str(tmp_path / "e.npz"), "--out", str(tmp_path / "out"),
    )  # fmt: skip


def test_from_the_command_to_the_report(
    tmp_path: Path, files: tuple[str, ...], command: Command
) -> None:
    groups = str(tmp_path / "groups.csv")
    out = tmp_path / "out"
    found = command(
        "evaluate", "pairs", *files, "--groups", groups, "--groups-far", "0.05"
    )
    assert found.code == 0, found.err
    numbers = json.loads((out / "report.json").read_text())
    assert numbers["settings"].pop("groups") == groups
    assert len(numbers["settings"].pop("groups_sha256")) == 64
    of_groups = numbers.pop("groups")
    assert of_groups["target_fmr"] == 0.05
    [sex] = of_groups["attributes"]
    assert [(group["name"], group["num_people"]) for group in sex["groups"]] == [
        ("F", 10),
        ("M", 10),
    ]
    assert "groups by sex: " in found.out
    assert "1 of the 21 people in groups.csv are in no pair, such as Eve" in found.out
    assert "<h2>Groups</h2>" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ("--groups-far", "0.1"),
            "groups_far must be in (0, 1), and not given without",
        ),
        (
            ("--groups", "groups.csv", "--groups-far", "1"),
            "groups_far must be in (0, 1)",
        ),
        (
            ("--groups", "groups.csv"),
            "FAR 0.001 needs at least 1,000 impostor pairs, there are 120; give a "
            "higher groups_far",
        ),
        (("--groups", "none.csv", "--groups-far", "0.1"), "cannot read none.csv"),
    ],
)
def test_bad_input_before_any_work(
    tmp_path: Path,
    files: tuple[str, ...],
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    found = command("evaluate", "pairs", *files, *options)
    assert found.code == 2
    assert says in " ".join(found.err.split())
    assert not (tmp_path / "out").exists()


def test_view_1_has_no_groups(tmp_path: Path, command: Command) -> None:
    found = command(
        "evaluate", "lfw", "--pairs", "a.txt", "--pairs", "b.txt", "--embeddings",
        "e.npz", "--out", str(tmp_path / "out"), "--groups", "g.csv",
    )  # fmt: skip
    assert found.code == 2
    assert "leave out --groups" in " ".join(found.err.split())
