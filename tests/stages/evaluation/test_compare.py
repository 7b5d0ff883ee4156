import csv
import json
import shutil
from collections.abc import Callable
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facever.errors import DataError, FileError, ParameterError
from facever.stages.evaluation.compare import compare_reports
from facever.stages.evaluation.evaluate import evaluate_lfw, evaluate_list
from facever.stages.evaluation.features import Inputs
from facever.stages.evaluation.judging import Judging
from facever.verification.evaluation import Evaluation

Command = Callable[..., Any]
PHOTOS = [f"P{p}/P{p}_000{n}.jpg" for p in range(6) for n in (1, 2, 3, 4)]
GONE = PHOTOS[5]

# The bootstraps take thousands of tiny steps: too many to check the types of each.
pytestmark = pytest.mark.usefixtures("types_unchecked")


def two_sided(heads: int, tosses: int) -> float:
    """The chance of so few heads, or tails, of a fair coin: McNemar's test."""
    fewer = min(heads, tosses - heads)
    return min(1.0, 2 * sum(comb(tosses, k) for k in range(fewer + 1)) / 2**tosses)


def write_pairs(path: Path, first_number: int = 1) -> Path:
    """Two folds of three people each: 15 + 15 of their pairs."""
    lines = ["2\t15"]
    for fold in (0, 1):
        people = [f"P{p}" for p in range(3 * fold, 3 * fold + 3)]
        genuine = [(p, a, b) for p in people for a, b in combinations((1, 2, 3, 4), 2)]
        lines += [f"{p}\t{a}\t{b}" for p, a, b in genuine[:15]]
        impostor = [
            (p, (a + first_number) % 4 + 1, q, b)
            for p, q in combinations(people, 2)
            for a, b in ((0, 1), (1, 2), (2, 2), (3, 4), (0, 4))
        ]
        lines += [f"{p}\t{a}\t{q}\t{b}" for p, a, q, b in impostor]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_embeddings(path: Path, seed: int, spread: float) -> Path:
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(6, 6)).repeat(4, axis=0)
    vectors = (centers + spread * rng.normal(size=(24, 6))).astype(np.float32)
    keep = [row for row, photo in enumerate(PHOTOS) if photo != GONE]
    images = np.array([PHOTOS[row] for row in keep])
    np.savez(path, embeddings=vectors[keep], images=images)
    return path


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Evaluation]:
    """Two reports in folders of their names, and what they were written from."""
    import jaxtyping

    folder = tmp_path_factory.mktemp("reports")
    pairs = write_pairs(folder / "pairs.txt")
    found = {}
    jaxtyping.config.update("jaxtyping_disable", True)
    for name, seed, spread, judging in (
        ("good", 0, 0.5, Judging(missing="lowest")),
        ("bad", 1, 1.5, Judging(pca=False)),
    ):
        embeddings = write_embeddings(folder / f"{name}.npz", seed, spread)
        inputs = Inputs(embeddings=embeddings)
        report = evaluate_lfw(folder / name, pairs, inputs, judging)
        found[str(folder / name)] = next(iter(report.evaluations.values()))
    jaxtyping.config.update("jaxtyping_disable", False)
    return found


@pytest.fixture
def folders(reports: dict[str, Evaluation], tmp_path: Path) -> list[Path]:
    """Copies, which a test may damage."""
    return [
        Path(shutil.copytree(folder, tmp_path / Path(folder).name))
        for folder in reports
    ]


def check_equal(found: Evaluation, original: Evaluation) -> None:
    assert found.pairs.left == original.pairs.left
    assert found.pairs.right == original.pairs.right
    for name in ("scores", "thresholds", "accuracies"):
        np.testing.assert_array_equal(getattr(found, name), getattr(original, name))
    np.testing.assert_array_equal(found.pairs.same, original.pairs.same)
    np.testing.assert_array_equal(found.pairs.fold, original.pairs.fold)
    for name in ("far", "tar", "thresholds"):
        curves = getattr(found.roc, name), getattr(original.roc, name)
        np.testing.assert_array_equal(*curves)
    for name in (
        *("accuracy", "standard_error", "auc", "eer", "tar", "missing"),
        *("num_missing_pairs", "missing_rule", "pca_components"),
    ):
        assert getattr(found, name) == getattr(original, name)


def read_differences(folder: Path) -> list[dict[str, Any]]:
    numbers = json.loads((folder / "report.json").read_text())
    found: list[dict[str, Any]] = numbers["differences"]
    return found


def test_headlines_are_read_back_as_they_were(
    tmp_path: Path, folders: list[Path], reports: dict[str, Evaluation]
) -> None:
    found = compare_reports(tmp_path / "out", folders).evaluations
    assert list(found) == ["good", "bad"]
    for evaluation, original in zip(found.values(), reports.values(), strict=True):
        check_equal(evaluation, original)
    good, bad = found.values()
    # What the test is about is there: missing pairs by two rules, and a PCA.
    assert good.missing == bad.missing == [GONE]
    assert good.num_missing_pairs == bad.num_missing_pairs > 0
    assert (good.missing_rule, bad.missing_rule) == ("lowest", "reject")
    assert np.isfinite(good.scores).all()
    assert np.isneginf(bad.scores).sum() == bad.num_missing_pairs
    assert (good.pca_components, bad.pca_components) == (3, None)
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    assert numbers["settings"]["good"].startswith("PCA to 3, cosine, of ")
    assert numbers["settings"]["good"].endswith("good.npz")
    assert numbers["settings"]["bad"].startswith("cosine, of ")


def test_the_tests_of_the_difference(
    tmp_path: Path, folders: list[Path], reports: dict[str, Evaluation]
) -> None:
    compared = compare_reports(tmp_path / "out", folders)
    [numbers] = read_differences(tmp_path / "out")
    [shown] = compared.to_dict()["differences"]
    assert (shown["first"], shown["second"]) == ("good", "bad")
    assert shown["mcnemar_p_value"] == numbers["mcnemar_p_value"]
    assert shown["accuracy"]["value"] == numbers["accuracy"]["difference"]
    assert (numbers["first"], numbers["second"]) == ("good", "bad")
    good, bad = (
        [
            (score > evaluation.thresholds[fold]) == same
            for score, same, fold in zip(
                evaluation.scores,
                evaluation.pairs.same,
                evaluation.pairs.fold,
                strict=True,
            )
        ]
        for evaluation in reports.values()
    )
    counts = {(a, b): 0 for a in (True, False) for b in (True, False)}
    for both in zip(good, bad, strict=True):
        counts[both] += 1
    assert numbers["num_both_right"] == counts[True, True]
    assert numbers["num_only_first"] == counts[True, False] > 0
    assert numbers["num_only_second"] == counts[False, True]
    assert numbers["num_both_wrong"] == counts[False, False]
    alone = (
        counts[True, False],
        sum(counts[key] for key in ((True, False), (False, True))),
    )
    assert numbers["mcnemar_p_value"] == pytest.approx(two_sided(*alone))
    difference = (counts[True, False] - counts[False, True]) / 60
    assert numbers["accuracy"]["difference"] == pytest.approx(difference)
    aucs = [evaluation.auc for evaluation in reports.values()]
    assert numbers["auc"]["difference"] == pytest.approx(aucs[0] - aucs[1])
    assert numbers["auc"]["low"] <= aucs[0] - aucs[1] <= numbers["auc"]["high"]
    assert (numbers["drawn"], numbers["num_identities"]) == ("people", 6)
    side = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [model["name"] for model in side["models"]] == ["good", "bad"]
    assert [model["auc"] for model in side["models"]] == aucs


def test_command(
    tmp_path: Path,
    folders: list[Path],
    reports: dict[str, Evaluation],
    command: Command,
) -> None:
    good, bad = folders
    out = tmp_path / "out"
    finished = command("evaluate", "compare", good / "report.json", bad, "--out", out)
    assert finished.code == 0, finished.err
    lines = finished.out.splitlines()
    assert len(lines) == 4
    for line, name, original in zip(lines, ("good", "bad"), reports.values()):  # noqa: B905
        assert line.startswith(f"{name} (")
        assert f"): accuracy {100 * original.accuracy:.2f} ± " in line
    assert lines[2].startswith("good less bad: accuracy +")
    assert "McNemar p = " in lines[2]
    assert lines[3] == f"report: {out / 'report.html'}"


def test_three_reports_of_one_name(tmp_path: Path, folders: list[Path]) -> None:
    copies = [
        Path(shutil.copytree(folder, tmp_path / run / "report"))
        for run, folder in zip("abc", [*folders, folders[0]], strict=True)
    ]
    found = compare_reports(tmp_path / "out", copies).evaluations
    assert list(found) == [str(copy) for copy in copies]
    pairs = read_differences(tmp_path / "out")
    assert [(p["first"], p["second"]) for p in pairs] == list(
        combinations(map(str, copies), 2)
    )
    # The first and the last are the same report.
    assert pairs[1]["mcnemar_p_value"] == 1
    assert pairs[1]["accuracy"]["difference"] == 0


def test_folders_that_are_no_people(tmp_path: Path) -> None:
    """Without identities pairs are drawn, and the report says so."""
    pairs = tmp_path / "pairs.csv"
    rows = [(f"{n:02d}.jpg", f"{n + 1:02d}.jpg", n % 4 == 0) for n in range(0, 16, 2)]
    with pairs.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["left", "right", "same", "fold"])
        writer.writerows((*row, n // 4 + 1) for n, row in enumerate(rows))
    images = np.array([f"{n:02d}.jpg" for n in range(16)])
    for name, seed in (("a", 0), ("b", 1)):
        vectors = np.random.default_rng(seed).normal(size=(16, 4)).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", embeddings=vectors, images=images)
        inputs = Inputs(embeddings=tmp_path / f"{name}.npz")
        evaluate_list(tmp_path / name, pairs, inputs, Judging(pca=False))
    compared = compare_reports(tmp_path / "out", [tmp_path / "a", tmp_path / "b"])
    found = compared.evaluations
    assert list(found) == ["a", "b"]
    [numbers] = read_differences(tmp_path / "out")
    assert (numbers["drawn"], numbers["num_identities"]) == ("pairs", None)
    right = [each.accepted == each.pairs.same for each in found.values()]
    alone = [int((one & ~other).sum()) for one, other in (right, right[::-1])]
    assert [numbers["num_only_first"], numbers["num_only_second"]] == alone
    assert sum(alone) > 0
    expected = two_sided(alone[0], sum(alone))
    assert numbers["mcnemar_p_value"] == pytest.approx(expected)
    accuracy = numbers["accuracy"]
    assert accuracy["difference"] == pytest.approx((alone[0] - alone[1]) / 8)
    assert accuracy["low"] <= accuracy["difference"] <= accuracy["high"]
    assert ", pairs drawn); McNemar p = " in str(compared)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f'<td class="">{alone[0]} to {alone[1]}</td>' in page
    assert "1,000 bootstrap draws of the pairs of each kind, seed 0" in page


def test_reports_of_other_pairs(tmp_path: Path, folders: list[Path]) -> None:
    pairs = write_pairs(tmp_path / "pairs.txt", first_number=2)
    inputs = Inputs(embeddings=write_embeddings(tmp_path / "e.npz", 0, 1.0))
    evaluate_lfw(tmp_path / "other", pairs, inputs, Judging(pca=False))
    with pytest.raises(DataError, match="those of 'other' are not those of 'good'"):
        compare_reports(tmp_path / "out", [folders[0], tmp_path / "other"])
    assert not (tmp_path / "out").exists()


def spoil_json(folder: Path, spoil: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "report.json"
    numbers = json.loads(path.read_text())
    spoil(numbers)
    path.write_text(json.dumps(numbers))


def spoil_scores(folder: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = folder / "scores.csv"
    path.write_bytes(spoil(path.read_bytes()))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "json is cut": lambda f: (f / "report.json").write_text('{"models": ['),
    "json is a list": lambda f: (f / "report.json").write_text("[]"),
    "json is binary": lambda f: (f / "report.json").write_bytes(b"\xff\xfe\x00"),
    "no models": lambda f: spoil_json(f, lambda n: n.update(models=[])),
    "an older version": lambda f: spoil_json(
        f, lambda n: n["models"][0].pop("missing")
    ),
    "no folds": lambda f: spoil_json(f, lambda n: n["models"][0].update(folds=[])),
    "a threshold is text": lambda f: spoil_json(
        f, lambda n: n["models"][0]["folds"][0].update(threshold="high")
    ),
    "another model's scores": lambda f: spoil_json(
        f, lambda n: n["models"][0].update(name="else")
    ),
    "scores are binary": lambda f: spoil_scores(f, lambda b: b"\xff\xfe\x00" + b),
    "scores are empty": lambda f: spoil_scores(f, lambda b: b""),
    "scores are one long field": lambda f: spoil_scores(
        f, lambda b: b + b"x" * 200_000
    ),
    "scores are cut": lambda f: spoil_scores(f, lambda b: b[: len(b) // 3]),
    "a score is text": lambda f: spoil_scores(
        f, lambda b: b.replace(b",0.", b",o.", 1)
    ),
    "a score is another": lambda f: spoil_scores(
        f, lambda b: b.replace(b",1,0.", b",1,-9.", 1)
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_report(tmp_path: Path, folders: list[Path], damage: str) -> None:
    DAMAGES[damage](folders[0])
    with pytest.raises(DataError, match=str(folders[0])) as caught:
        compare_reports(tmp_path / "out", folders)
    assert "\n" not in str(caught.value)
    assert "evaluate again" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("gone", ["report.json", "scores.csv"])
def test_a_folder_without_a_report(
    tmp_path: Path, folders: list[Path], gone: str
) -> None:
    (folders[1] / gone).unlink()
    with pytest.raises(FileError, match=f"bad/{gone}: No such file"):
        compare_reports(tmp_path / "out", folders)
    shutil.rmtree(folders[1])
    with pytest.raises(FileError, match=r"bad/report\.json: No such file"):
        compare_reports(tmp_path / "out", folders)
    other = tmp_path / "numbers.json"
    shutil.copy(folders[0] / "report.json", other)
    # Not the report.json that may lie beside it.
    shutil.copy(folders[0] / "scores.csv", tmp_path)
    shutil.copy(folders[0] / "report.json", tmp_path)
    with pytest.raises(FileError, match=r"numbers\.json/report\.json: Not a directory"):
        compare_reports(tmp_path / "out", [folders[0], other])
    assert not (tmp_path / "out").exists()


def test_reports_that_cannot_be_compared(tmp_path: Path, folders: list[Path]) -> None:
    good, bad = folders
    for given, says in (
        ([], "at least 2 reports, got 0"),
        ([good], "at least 2 reports, got 1"),
        ([good, bad, good], "different reports"),
        ([good, good / "report.json"], "different reports"),
        ([good, bad / ".." / "good"], "different reports"),
    ):
        with pytest.raises(ParameterError, match=says):
            compare_reports(tmp_path / "out", given)
    assert not (tmp_path / "out").exists()


def test_a_report_is_not_overwritten(folders: list[Path]) -> None:
    before = (folders[1] / "report.json").read_bytes()
    with pytest.raises(ParameterError, match="another folder"):
        compare_reports(folders[1] / "." / "", folders)
    assert (folders[1] / "report.json").read_bytes() == before
