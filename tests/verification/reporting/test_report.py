import base64
import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facever.errors import DataError, FileError
from facever.verification.evaluation import evaluate_pairs, evaluate_scores
from facever.verification.protocols import PairList
from facever.verification.reporting import report
from facever.verification.reporting.report import write_report
from facever.verification.uncertainty.calibration import probabilities_of
from facever.verification.uncertainty.error_rates import error_rates

FILES = [
    *("det.png", "det.svg", "report.html", "report.json", "roc.png", "roc.svg"),
    "scores.csv",
]
NASTY = """<script>alert(1)</script>"&'$x_1$ ü"""


class Tags(HTMLParser):
    """Every tag with its attributes, the text, and whether tags are well nested."""

    VOID = ("meta", "img", "wbr")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.stack: list[str] = []
        self.feed(page)
        assert not self.stack

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data


@pytest.fixture(scope="module")
def evaluations(draw):
    embeddings, images, pairs = draw(seed=1)
    noise = np.random.default_rng(0).normal(size=embeddings.shape)
    keep = [row for row, image in enumerate(images) if image != pairs.left[0]]
    return {
        "first": evaluate_pairs(embeddings, images, pairs, 4),
        NASTY: evaluate_pairs(
            (embeddings + noise)[keep], [images[i] for i in keep], pairs
        ),
    }


def crop_of(source: str):
    if source.endswith("_0003.jpg"):
        return None
    return np.full((112, 96, 3), (250, 10, 10), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(evaluations, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report") / "new" / "folder"
    gone = evaluations[NASTY].missing[0]
    settings = {"pairs": "pairs.txt", NASTY: NASTY, "none_at_all": None}
    page = write_report(out, evaluations, NASTY, settings, {gone: NASTY}, crop_of)
    assert page == out / "report.html"
    assert sorted(path.name for path in out.iterdir()) == FILES
    return out


def test_page_is_well_formed_escaped_and_needs_nothing_else(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    tags = Tags(page)
    names = [tag for tag, _ in tags.tags]
    assert "script" not in names
    assert "link" not in names
    assert tags.text.count("<script>alert(1)</script>") >= 8
    addresses = [
        value
        for _, attributes in tags.tags
        for key, value in attributes.items()
        if key in ("src", "href", "xlink:href")
    ]
    assert addresses
    assert all(str(address).startswith("data:image/jpeg") for address in addresses)
    assert "url(" not in page
    assert "@import" not in page
    assert not re.search(r"https?://", page)
    assert not re.search(r"\bnan\b|\binf\b|-inf", page, re.IGNORECASE)


def test_page_says_the_numbers(folder: Path, evaluations) -> None:
    text = Tags((folder / "report.html").read_text(encoding="utf-8")).text
    first, second = evaluations.values()
    for evaluation in (first, second):
        assert f"{100 * evaluation.accuracy:.2f} %" in text
        assert f"± {100 * evaluation.standard_error:.2f}" in text
        assert f"{100 * evaluation.auc:.2f} %" in text
        assert f"{100 * evaluation.eer:.2f} %" in text
        for threshold in evaluation.thresholds:
            assert f"{threshold:.4f}" in text
    right = int((first.accepted == first.pairs.same).sum())
    assert f"{right} of 120 pairs judged right" in text
    assert "too few pairs" in text
    assert f"in {second.num_missing_pairs} pairs" in text
    assert second.missing[0] in text


def test_page_shows_the_worst_errors(folder: Path, evaluations) -> None:
    tags = Tags((folder / "report.html").read_text(encoding="utf-8"))
    first = evaluations["first"]
    wrong = first.accepted != first.pairs.same
    cards = [a["class"] for tag, a in tags.tags if tag == "li" and "class" in a]
    accepts = int((wrong & ~first.pairs.same).sum())
    rejects = int((wrong & first.pairs.same).sum())
    assert 0 < accepts
    assert 0 < rejects
    assert cards == ["accept"] * min(accepts, 12) + ["reject"] * min(rejects, 12)
    sources = [a["src"] for tag, a in tags.tags if tag == "img"]
    jpeg = base64.b64decode(str(sources[0]).partition(",")[2])
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert bgr.shape == (112, 96, 3)
    assert np.abs(bgr[50, 50].astype(int) - [10, 10, 250]).max() < 12
    assert "no picture" in tags.text
    # The worst false accept is the one furthest above its own fold's threshold.
    excess = first.scores - first.thresholds[first.pairs.fold]
    worst = int(np.argmax(np.where(first.pairs.same, -np.inf, excess)))
    shown = tags.text.index(f"score {first.scores[worst]:.3f}")
    assert shown == tags.text.index("score ", tags.text.index("False accepts:"))


def test_json_holds_every_number(folder: Path, evaluations) -> None:
    text = (folder / "report.json").read_text(encoding="utf-8")
    numbers = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert numbers["settings"]["none_at_all"] is None
    assert numbers["pairs"] == {
        "num_pairs": 120,
        "num_genuine": 60,
        "num_impostor": 60,
        "num_folds": 4,
    }
    for model, (name, evaluation) in zip(
        numbers["models"], evaluations.items(), strict=True
    ):
        assert model["name"] == name
        for key in ("accuracy", "standard_error", "standard_deviation", "auc", "eer"):
            assert model[key] == getattr(evaluation, key)
        assert [f["threshold"] for f in model["folds"]] == list(evaluation.thresholds)
        assert [f["accuracy"] for f in model["folds"]] == list(evaluation.accuracies)
        assert [a["tar"] for a in model["tar_at_far"]] == [
            answer.tar for answer in evaluation.tar
        ]
        assert model["missing"]["photos"] == evaluation.missing
        assert model["missing"]["num_pairs"] == evaluation.num_missing_pairs
        rates = error_rates(evaluation)
        assert rates is not None
        for said, errors in zip(
            model["error_rates"]["at_fmr"], rates.at_fmr, strict=True
        ):
            assert said["threshold"] == errors.threshold
            for term in ("fmr", "fnmr", "far", "frr"):
                counted = getattr(errors, term)
                assert said[term]["rate"] == counted.num_errors / counted.num_trials
        area = np.trapezoid(model["roc"]["tar"], model["roc"]["far"])
        assert area == pytest.approx(evaluation.auc)
    assert numbers["models"][0]["pca_components"] == 4
    assert numbers["models"][1]["roc"]["threshold"][-1] is None
    assert set(numbers["versions"]) == {"facever", "python", "numpy", "opencv"}


def test_scores_give_the_accuracy_back(folder: Path, evaluations) -> None:
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for name, evaluation in evaluations.items():
        mine = [row for row in rows if row["model"] == name]
        assert [row["left"] for row in mine] == evaluation.pairs.left
        assert [float(row["score"] or "-inf") for row in mine] == list(
            evaluation.scores
        )
        for fold in range(4):
            right = [
                r["same"] == r["accepted"] for r in mine if int(r["fold"]) == fold + 1
            ]
            assert sum(right) / 30 == pytest.approx(evaluation.accuracies[fold])


def test_picture(folder: Path) -> None:
    with Image.open(folder / "roc.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 800
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 20


def test_the_same_evaluation_gives_the_same_bytes(evaluations, tmp_path: Path) -> None:
    for name in "ab":
        write_report(tmp_path / name, evaluations, "t", {}, None, crop_of)
    for name in FILES:
        first, second = (tmp_path / folder / name for folder in "ab")
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", ["cosine", NASTY])
def test_a_single_model_without_pictures(evaluations, tmp_path: Path, name) -> None:
    page = write_report(tmp_path, {name: evaluations["first"]}, "title", {})
    tags = Tags(page.read_text(encoding="utf-8"))
    assert "img" not in [tag for tag, _ in tags.tags]
    assert "Side by side" not in tags.text
    assert "The pictures need the crops" in tags.text
    assert "every pair has both its photos" in tags.text


@pytest.mark.parametrize("scores", ["perfect", "hopeless", "equal", "rounded", "tiny"])
def test_extreme_scores_can_be_drawn(draw, tmp_path: Path, scores: str) -> None:
    per_kind = 1 if scores == "tiny" else 15
    _, _, pairs = draw(folds=2, per_kind=per_kind)
    values = {
        "perfect": np.where(pairs.same, 0.9, 0.1),
        "hopeless": np.where(pairs.same, 0.1, 0.9),
        "equal": np.full(len(pairs), 0.3),
        # Equal but for the last bit: too close for a histogram's bins.
        "rounded": np.where(pairs.same, 0.3, np.nextafter(0.3, 0)),
        "tiny": np.linspace(0, 1, len(pairs)),
    }[scores]
    page = write_report(
        tmp_path, {scores: evaluate_scores(values, pairs)}, "title", {}, None, crop_of
    )
    text = page.read_text(encoding="utf-8")
    Tags(text)
    assert not re.search(r"\bnan\b|\binf\b", text, re.IGNORECASE)


def test_models_of_other_pairs_are_refused(draw, evaluations, tmp_path: Path) -> None:
    embeddings, images, pairs = draw(seed=2)
    other = evaluate_pairs(embeddings, images, pairs)
    with pytest.raises(DataError, match="'other' are not those of 'first'"):
        write_report(tmp_path, {"first": evaluations["first"], "other": other}, "t", {})
    with pytest.raises(DataError, match="at least one evaluation"):
        write_report(tmp_path, {}, "t", {})
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_earlier_report(
    evaluations, tmp_path: Path, monkeypatch
) -> None:
    one = {"first": evaluations["first"]}
    write_report(tmp_path, one, "the earlier one", {})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "save_roc", full_disk)
    with pytest.raises(FileError, match="No space left"):
        write_report(tmp_path, one, "the later one", {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be(evaluations, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"cannot write .*report"):
        write_report(tmp_path / "file", {"first": evaluations["first"]}, "t", {})


def test_unequal_folds_are_said(draw, tmp_path: Path) -> None:
    _, _, pairs = draw(folds=3)
    kept = np.arange(len(pairs)) != 40
    fewer = PairList(
        [name for name, k in zip(pairs.left, kept, strict=True) if k],
        [name for name, k in zip(pairs.right, kept, strict=True) if k],
        pairs.same[kept],
        pairs.fold[kept],
    )
    says = "The folds hold 29 to 30 pairs and weigh alike in the mean."
    for listed, sizes in ((pairs, [30, 30, 30]), (fewer, [30, 29, 30])):
        scores = np.linspace(0, 1, len(listed))
        page = write_report(tmp_path, {"m": evaluate_scores(scores, listed)}, "t", {})
        assert (says in page.read_text(encoding="utf-8")) == (sizes[1] == 29)
        [model] = json.loads((tmp_path / "report.json").read_text())["models"]
        assert [fold["num_pairs"] for fold in model["folds"]] == sizes


def test_calibration_stands_in_the_json_and_on_the_page(
    folder: Path, evaluations
) -> None:
    numbers = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count('aria-label="Probability over the score"') == 2
    for model, evaluation in zip(numbers["models"], evaluations.values(), strict=True):
        found = probabilities_of(evaluation)
        assert found is not None
        said = model["calibration"]
        for name in ("brier", "expected_calibration_error", "cllr", "min_cllr"):
            assert said[name] == getattr(found, name)
        assert f'<td class="">{found.cllr:.4f}</td>' in page
        assert said["slopes"] == found.slopes.tolist()
        assert said["num_pairs_without_score"] == evaluation.num_missing_pairs
        counted = sum(each["num_pairs"] for each in said["bins"])
        assert counted == 120 - evaluation.num_missing_pairs


def test_captions_say_the_person(tmp_path: Path) -> None:
    names = [("A_B/0", "A_B/1"), ("A_B/0", "C/7.jpg"), ("C/C_0001.jpg", "C/8.jpg")]
    pairs = PairList(
        [left for left, _ in names] + ["x1.jpg"],
        [right for _, right in names] + ["x2.jpg"],
        np.array([True, False, True, False]),
        np.array([0, 0, 1, 1]),
    )
    wrong = {"m": evaluate_scores(np.array([0.1, 0.9, 0.2, 0.8]), pairs)}
    page = write_report(tmp_path, wrong, "title", {}).read_text(encoding="utf-8")
    captions = re.findall("<figcaption>(.*?)</figcaption>", page)
    assert {caption.replace("<wbr>", "") for caption in captions} == {
        *("A_B/0", "A_B/1", "C/7", "C_0001", "C/8", "x1", "x2")
    }
