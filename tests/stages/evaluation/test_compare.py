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
from facever.stages.evaluation.compare import compare_reports, write_comparison
from facever.stages.evaluation.evaluate import evaluate_lfw, evaluate_list
from facever.stages.evaluation.features import Inputs
from facever.stages.evaluation.judging import Judging
from facever.stages.evaluation.read_report import read_report
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
    """Two reports in folders of their names, and their headlines; the worse first."""
    import jaxtyping

    folder = tmp_path_factory.mktemp("reports")
    pairs = write_pairs(folder / "pairs.txt")
    found = {}
    jaxtyping.config.update("jaxtyping_disable", True)
    for name, seed, spread, judging in (
        ("bad", 1, 1.5, Judging(pca_components=2)),
        ("good", 0, 0.5, Judging()),
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


def test_cutoffs_of_quality_are_said(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.txt")
    embeddings = write_embeddings(tmp_path / "e.npz", 0, 0.5)
    lengths = np.linalg.norm(np.load(embeddings)["embeddings"].astype(float), axis=1)
    least = float(np.sort(lengths)[1:3].mean())
    found = []
    for name, min_quality in (("all", {}), ("some", {"embedding-length": least})):
        inputs = Inputs(embeddings=embeddings, min_quality=min_quality)
        evaluate_lfw(tmp_path / name, pairs, inputs, Judging(pca=False))
        found.append(read_report(tmp_path / name).describe("cosine"))
    said = found[1].removeprefix(f"{found[0]}, without photos below embedding-length=")
    assert float(said) == pytest.approx(least, rel=1e-14)


@pytest.mark.parametrize("missing", ["lowest", "reject"])
def test_a_report_is_read_back_as_it_was(tmp_path: Path, missing: Any) -> None:
    pairs = write_pairs(tmp_path / "pairs.txt")
    inputs = Inputs(embeddings=write_embeddings(tmp_path / "e.npz", 0, 0.5))
    written = evaluate_lfw(tmp_path / "a", pairs, inputs, Judging(missing=missing))
    report = read_report(tmp_path / "a")
    assert list(report.evaluations) == list(written.evaluations)
    assert len(report.evaluations) == 2
    for found, original in zip(
        report.evaluations.values(), written.evaluations.values(), strict=True
    ):
        check_equal(found, original)
        # What the test is about is there: missing pairs.
        assert found.missing == [GONE]
        assert found.num_missing_pairs > 0
        unscored = found.num_missing_pairs * (missing == "reject")
        assert np.isneginf(found.scores).sum() == unscored
    assert [each.pca_components for each in report.evaluations.values()] == [3, None]
    assert report.ways == {
        "PCA, cosine": "PCA to 3, cosine",
        "cosine": "cosine",
    }


def test_the_best_comes_first_whatever_the_order(
    tmp_path: Path, folders: list[Path], reports: dict[str, Evaluation]
) -> None:
    both = [
        compare_reports(tmp_path / f"out{number}", given)
        for number, given in enumerate((folders, folders[::-1]))
    ]
    bad, good = reports.values()
    assert good.accuracy > bad.accuracy
    for number, found in enumerate(both):
        assert list(found.evaluations) == ["good", "bad"]
        check_equal(found.evaluations["good"], good)
        check_equal(found.evaluations["bad"], bad)
        assert list(found.differences) == [("good", "bad")]
        assert found.notes == ()
        page = (tmp_path / f"out{number}" / "report.html").read_text()
        assert f"{100 * good.accuracy:.2f} %<small>" in page
        assert "<b>good</b>, the best of 2: " in page
    numbers = json.loads((tmp_path / "out0" / "report.json").read_text())
    assert numbers["settings"]["good"].startswith("PCA to 3, cosine, of ")
    assert numbers["settings"]["good"].endswith("good.npz")
    assert numbers["settings"]["bad"].startswith("PCA to 2, cosine, of ")


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
    bad, good = (
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
    aucs = [evaluation.auc for evaluation in reports.values()][::-1]
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
    bad, good = folders
    out = tmp_path / "out"
    finished = command("evaluate", "compare", bad / "report.json", good, "--out", out)
    assert finished.code == 0, finished.err
    lines = finished.out.splitlines()
    assert len(lines) == 5
    originals = [*reports.values()][::-1]
    for line, name, original in zip(lines, ("good", "bad"), originals):  # noqa: B905
        assert line.startswith(f"{name} (")
        assert f"): accuracy {100 * original.accuracy:.2f} ± " in line
    assert lines[2].startswith("good less bad: accuracy +")
    assert "McNemar p = " in lines[2]
    with (out / "differing.csv").open(newline="") as file:
        count = len(list(csv.reader(file))) - 1
    assert lines[3] == f"{count} pairs are not judged alike: {out / 'differing.csv'}"
    assert lines[4] == f"report: {out / 'report.html'}"


def test_three_reports_of_one_name(tmp_path: Path, folders: list[Path]) -> None:
    copies = [
        Path(shutil.copytree(folder, tmp_path / run / "report"))
        for run, folder in zip("abc", [*folders, folders[0]], strict=True)
    ]
    found = compare_reports(tmp_path / "out", copies).evaluations
    # The second is the best; the first and the last are the same report.
    ranked = [str(copies[place]) for place in (1, 0, 2)]
    assert list(found) == ranked
    pairs = read_differences(tmp_path / "out")
    assert [(p["first"], p["second"]) for p in pairs] == list(combinations(ranked, 2))
    assert pairs[2]["mcnemar_p_value"] == 1
    assert pairs[2]["accuracy"]["difference"] == 0


def test_others_are_set_beside_a_reference(
    tmp_path: Path, reports: dict[str, Evaluation]
) -> None:
    bad, good = reports.values()
    found = write_comparison(
        tmp_path / "out",
        {"one": bad, "base": bad, "other": good},
        dict.fromkeys(("one", "base", "other"), "cosine"),
        "three",
        crop_of=None,
        reference="base",
    )
    # The best is first all the same, and no two others are compared.
    assert next(iter(found.evaluations)) == "other"
    assert {frozenset(pair) for pair in found.differences} == {
        frozenset(("one", "base")),
        frozenset(("other", "base")),
    }
    page = found.page.read_text()
    for name in ("one", "other"):
        assert f"{name} is right, base wrong" in page
        assert f"base is right, {name} wrong" in page
    assert "other is right, one wrong" not in page


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
    assert set(found) == {"a", "b"}
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
    says = (
        "those of 'other' are not those of 'bad': pair 16 is "
        r"P0/P0_0003\.jpg and P1/P1_0001\.jpg, and P0/P0_0002\.jpg and P1/P1_0001\.jpg"
    )
    other = [tmp_path / "other"]
    evaluate_lfw(other[0], pairs, inputs)
    with pytest.raises(DataError, match=says):
        compare_reports(tmp_path / "out", [folders[0], *other])
    lines = write_pairs(pairs).read_text().splitlines()
    pairs.write_text("\n".join(["2\t15", *lines[31:], *lines[1:31]]) + "\n")
    evaluate_lfw(other[0], pairs, inputs)
    with pytest.raises(DataError, match="those of 'bad': pair 1 is P3"):
        compare_reports(tmp_path / "out", [folders[0], *other])
    pairs.write_text("\n".join(["2\t14", *lines[1:15], *lines[16:30], *lines[31:45]]))
    with pairs.open("a") as file:
        file.write("\n" + "\n".join(lines[46:60]) + "\n")
    evaluate_lfw(other[0], pairs, inputs)
    with pytest.raises(DataError, match="those of 'bad': 56 pairs and 60"):
        compare_reports(tmp_path / "out", [folders[0], *other])
    assert not (tmp_path / "out").exists()


def test_reports_of_other_folds(tmp_path: Path) -> None:
    rows = [(f"{n}.jpg", f"{n + 1}.jpg", n % 4 == 0) for n in range(0, 16, 2)]
    images = [f"{n}.jpg" for n in range(16)]
    vectors = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    np.savez(tmp_path / "e.npz", embeddings=vectors, images=images)
    for name, fold_of in (("a", lambda n: n // 4), ("b", lambda n: n // 2 % 2)):
        lines = [
            f"{left},{right},{int(same)},{fold_of(n)}"
            for n, (left, right, same) in enumerate(rows)
        ]
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join(["left,right,same,fold", *lines]))
        inputs = Inputs(embeddings=tmp_path / "e.npz")
        evaluate_list(tmp_path / name, path, inputs, Judging(pca=False))
    with pytest.raises(DataError, match=r"not those of 'a': they are in other folds$"):
        compare_reports(tmp_path / "out", [tmp_path / "a", tmp_path / "b"])


def evaluate_as(folder: Path, **judging: Any) -> Path:
    embeddings = write_embeddings(folder.with_suffix(".npz"), len(folder.name), 1.0)
    pairs = write_pairs(folder.with_name("pairs.txt"))
    evaluate_lfw(folder, pairs, Inputs(embeddings=embeddings), Judging(**judging))
    return folder


def test_like_is_compared_with_like(tmp_path: Path) -> None:
    with_pca = evaluate_as(tmp_path / "with-pca")
    without = evaluate_as(tmp_path / "without", pca=False)
    found = compare_reports(tmp_path / "out", [with_pca, without])
    plain = {
        folder.name: read_report(folder).evaluations["cosine"]
        for folder in (with_pca, without)
    }
    assert {name: each.accuracy for name, each in found.evaluations.items()} == {
        name: each.accuracy for name, each in plain.items()
    }
    assert all(
        headline.startswith("cosine, of") for headline in found.headlines.values()
    )
    [note] = found.notes
    assert note == (
        "compared by 'cosine', which all reports have, for their headlines are of "
        "several ways: with-pca's by 'PCA, cosine', without's by 'cosine'"
    )
    assert note in found.lines()
    assert found.to_dict()["notes"] == [note]
    settings = json.loads((tmp_path / "out" / "report.json").read_text())["settings"]
    assert settings["notes"] == note
    # Two headlines without a PCA need no word.
    other = evaluate_as(tmp_path / "another", pca=False)
    assert compare_reports(tmp_path / "out", [without, other]).notes == ()


@pytest.mark.parametrize(
    "judging",
    [
        {"measure": "euclidean", "pca": False},
        {"subtract_mean": True, "pca": False},
    ],
)
def test_unlike_is_not_compared(tmp_path: Path, judging: dict[str, Any]) -> None:
    one = evaluate_as(tmp_path / "one", pca=False)
    other = evaluate_as(tmp_path / "other", **judging)
    with pytest.raises(DataError, match=r"no way .* common: one by cosine; other by"):
        compare_reports(tmp_path / "out", [one, other])
    assert not (tmp_path / "out").exists()


def test_rules_for_missing_photos_are_one(tmp_path: Path) -> None:
    one = evaluate_as(tmp_path / "one")
    other = evaluate_as(tmp_path / "other", missing="lowest")
    says = "by different rules, one reject, other lowest: .* same --missing"
    with pytest.raises(DataError, match=says):
        compare_reports(tmp_path / "out", [one, other])
    # Where nothing is missing they do nothing.
    for path in (one, other):
        embeddings = dict(np.load(path.with_suffix(".npz")))
        more = np.ones((1, 6), np.float32)
        np.savez(
            path.with_suffix(".npz"),
            embeddings=np.concatenate([embeddings["embeddings"], more]),
            images=np.array([*embeddings["images"].tolist(), GONE]),
        )
    for path, missing in ((one, "reject"), (other, "lowest")):
        inputs = Inputs(embeddings=path.with_suffix(".npz"))
        evaluate_lfw(path, tmp_path / "pairs.txt", inputs, Judging(missing=missing))
    compare_reports(tmp_path / "out", [one, other])


def test_a_report_of_another_kind(tmp_path: Path, folders: list[Path]) -> None:
    (folders[0] / "report.json").rename(folders[0] / "view_1.json")
    with pytest.raises(DataError, match=r"bad holds view_1\.json, which is no"):
        compare_reports(tmp_path / "out", folders)


def test_pairs_that_are_not_judged_alike_are_listed(
    tmp_path: Path, folders: list[Path], reports: dict[str, Evaluation]
) -> None:
    found = compare_reports(tmp_path / "out", folders)
    bad, good = reports.values()
    expected = []
    for row, (left, right) in enumerate(
        zip(good.pairs.left, good.pairs.right, strict=True)
    ):
        same, fold = bool(good.pairs.same[row]), int(good.pairs.fold[row])
        is_right = [
            (each.scores[row] > each.thresholds[fold]) == same for each in (good, bad)
        ]
        if is_right[0] != is_right[1]:
            votes = [str(int(each)) for each in is_right]
            expected.append([str(fold + 1), left, right, str(int(same)), *votes])
    with (tmp_path / "out" / "differing.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["fold", "left", "right", "same", "good", "bad"]
    assert rows == expected
    assert len(rows) == found.num_differing > 0


def test_pictures_come_from_the_crops_of_a_report(
    tmp_path: Path, folders: list[Path], make_store: Callable[..., Path]
) -> None:
    compare_reports(tmp_path / "none", folders)
    page = (tmp_path / "none" / "report.html").read_text()
    assert "Judged differently" in page
    assert "data:image/jpeg" not in page
    assert "The pictures need the crops" in page
    # As --photos leaves them in the report's folder, but for their names.
    store = make_store(folders[1] / "crops", (4,) * 6)
    table = (store / "crops.csv").read_text()
    for person in range(6):
        for number in range(4):
            ours = f"P{person}/P{person}_000{number + 1}.png"
            table = table.replace(f"P{person}/{number}.png", ours)
    (store / "crops.csv").write_text(table)
    compare_reports(tmp_path / "own", folders)
    page = (tmp_path / "own" / "report.html").read_text()
    assert "data:image/jpeg" in page
    assert "The pictures need the crops" not in page
    # As --crops names them, elsewhere.
    (folders[1] / "crops").rename(tmp_path / "elsewhere")
    spoil_json(
        folders[0], lambda n: n["settings"].update(crops=str(tmp_path / "elsewhere"))
    )
    compare_reports(tmp_path / "named", folders)
    assert "data:image/jpeg" in (tmp_path / "named" / "report.html").read_text()


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
    "no settings": lambda f: spoil_json(f, lambda n: n.update(settings=None)),
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
    with pytest.raises(FileError, match=f"good/{gone}: No such file"):
        compare_reports(tmp_path / "out", folders)
    shutil.rmtree(folders[1])
    with pytest.raises(FileError, match=r"good/report\.json: No such file"):
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
    bad, good = folders
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
