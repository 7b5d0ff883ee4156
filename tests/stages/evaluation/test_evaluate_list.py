import csv
import hashlib
import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from facever.errors import DataError, ParameterError
from facever.stages.evaluation import named_crops
from facever.stages.evaluation.evaluate import evaluate_list
from facever.stages.evaluation.features import Inputs
from facever.stages.evaluation.judging import Judging
from facever.stages.evaluation.pair_protocols import PairReading
from facever.stages.evaluation.view_1 import evaluate_lfw_view_1
from facever.verification.evaluation import evaluate_pairs
from facever.verification.protocols import read_lfw_view_1, read_pair_list
from facever.verification.rules import RULES
from facever.verification.thresholds import best_threshold

Command = Callable[..., Any]
PEOPLE = ("Ann", "Bob", "Cy", "Dee")
PHOTOS = [f"{person}/{person}_{n:04d}.jpg" for person in PEOPLE for n in (1, 2, 3)]


@pytest.fixture
def embeddings(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(4, 6)).repeat(3, axis=0) + rng.normal(size=(12, 6))
    path = tmp_path / "embeddings.npz"
    np.savez(path, embeddings=vectors.astype(np.float32), images=np.array(PHOTOS))
    return path


def write_list(path: Path, folds: bool) -> Path:
    """12 genuine and 12 impostor pairs, in 3 folds if these are named."""
    kinds: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    for first, second in combinations(PHOTOS, 2):
        kinds[first[:2] == second[:2]].append((first, second))
    rows = [(*pair, same) for same in (True, False) for pair in kinds[same][:12]]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["left", "right", "same", "fold"][: 3 + folds])
        for number, (first, second, same) in enumerate(rows):
            row = [first, second, str(same).lower()]
            writer.writerow(row + [number % 3 + 1] * folds)
    return path


def read_scores(out: Path, model: str) -> list[dict[str, str]]:
    with (out / "scores.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["model"] == model]


@pytest.mark.parametrize("folds", [True, False])
def test_a_list_from_the_command_to_its_report(
    tmp_path: Path, embeddings: Path, command: Command, folds: bool
) -> None:
    pairs = write_list(tmp_path / "mine.csv", folds)
    out = tmp_path / "out"
    arguments = ("--pairs", pairs, "--embeddings", embeddings, "--out", out, "--no-pca")
    finished = command("evaluate", "pairs", *arguments)
    assert finished.code == 0, finished.err
    numbers = json.loads((out / "report.json").read_text())
    num_folds = 3 if folds else 10
    assert numbers["title"] == f"mine, 24 pairs in {num_folds} folds"
    assert numbers["settings"]["pairs"] == str(pairs)
    [model] = numbers["models"]
    rows = read_scores(out, "cosine")
    if folds:
        assert [int(row["fold"]) for row in rows] == [n % 3 + 1 for n in range(24)]
    else:
        # The eleventh pair of a kind is in fold 1 again.
        dealt = [n % 10 + 1 for n in range(12)]
        assert [int(row["fold"]) for row in rows] == dealt + dealt
    with np.load(embeddings) as file:
        vector = dict(zip(PHOTOS, file["embeddings"].astype(float), strict=True))
    right: list[list[bool]] = [[] for _ in range(num_folds)]
    scores, same, fold = [], [], []
    for row in rows:
        a, b = vector[row["left"]], vector[row["right"]]
        scores.append(a @ b / np.sqrt((a @ a) * (b @ b)))
        same.append(row["left"][:2] == row["right"][:2])
        fold.append(int(row["fold"]) - 1)
        assert float(row["score"]) == pytest.approx(scores[-1])
        assert row["same"] == str(int(same[-1]))
    for score, truth, tested in zip(scores, same, fold, strict=True):
        others = np.array(fold) != tested
        threshold = best_threshold(np.array(scores)[others], np.array(same)[others])
        right[tested].append((score > threshold) == truth)
    accuracies = [sum(answers) / len(answers) for answers in right]
    assert [each["accuracy"] for each in model["folds"]] == pytest.approx(accuracies)
    assert f"accuracy {100 * np.mean(accuracies):.2f} ±" in finished.out
    assert 0 < np.mean(accuracies) < 1


def test_a_list_of_another_place_with_names_of_its_own(
    tmp_path: Path, embeddings: Path, command: Command
) -> None:
    """Other column names, another folder, backslashes, a pair twice, a photo gone."""
    expected = write_list(tmp_path / "mine.csv", folds=True)
    rows = [line.split(",") for line in expected.read_text().splitlines()[1:]]
    rows.append([rows[0][1], rows[0][0], *rows[0][2:]])
    truth = {"true": 1, "false": -1}
    lines = [
        f"D:\\lfw\\{left};D:\\lfw\\{right};{truth[same]};{int(fold) - 1}"
        for left, right, same, fold in rows
    ]
    other = tmp_path / "other.csv"
    other.write_text("\n".join(["who;whom;is it;part", *lines]).replace("/", "\\"))
    with np.load(embeddings) as file:
        vectors = file["embeddings"]
    np.savez(embeddings, embeddings=vectors[1:], images=PHOTOS[1:])
    shared = ("--embeddings", embeddings, "--no-pca")
    plain = command(
        *("evaluate", "pairs", "--pairs", expected, "--out", tmp_path / "a"), *shared
    )
    columns = ("--columns", "who,whom,is it,part")
    finished = command(
        *("evaluate", "pairs", "--pairs", other, "--out", tmp_path / "b"),
        *(*shared, *columns, "--unique"),
    )
    assert finished.code == 0, finished.err
    assert finished.out.splitlines()[0].partition(", 2 photos missing")[0] == (
        plain.out.splitlines()[0].partition(", 2 photos missing")[0]
    ).replace(PHOTOS[0], f"D:/lfw/{PHOTOS[0]}")
    said = finished.out.splitlines()[1:]
    assert said[0] == (
        "columns of other.csv: left is who, right is whom, same is is it, fold is part"
    )
    assert said[1].startswith("pairs that are listed again: 1, 1 of them with the mem")
    assert said[1].endswith("in line 26; dropped")
    assert said[2].startswith("photos are matched by the last 2 parts of their paths: ")
    assert said[3].startswith(f"not there: D:/lfw/{PHOTOS[0]}; a similar name there: ")
    scores = read_scores(tmp_path / "b", "cosine")
    assert [row["score"] for row in scores] == [
        row["score"] for row in read_scores(tmp_path / "a", "cosine")
    ]
    assert scores[0]["left"] == f"D:/lfw/{PHOTOS[0]}"
    as_listed = command(
        *("evaluate", "pairs", "--pairs", other, "--out", tmp_path / "c"),
        *(*shared, *columns),
    )
    assert len(read_scores(tmp_path / "c", "cosine")) == 25
    assert "kept as listed, --unique drops them" in as_listed.out


def test_view_1_is_read_as_it_is(tmp_path: Path, embeddings: Path) -> None:
    with pytest.raises(ParameterError, match="leave out --columns and --unique"):
        evaluate_lfw_view_1(
            tmp_path / "out",
            [tmp_path / "a", tmp_path / "b"],
            Inputs(embeddings=embeddings),
            reading=PairReading(unique=True),
        )


def test_every_option_of_the_command_arrives(
    tmp_path: Path, embeddings: Path, command: Command
) -> None:
    pairs = write_list(tmp_path / "mine.csv", folds=True)
    with np.load(embeddings) as file:
        np.savez(embeddings, embeddings=file["embeddings"][1:], images=PHOTOS[1:])
        vectors = file["embeddings"][1:]
    shared = ("evaluate", "pairs", "--pairs", pairs, "--embeddings", embeddings)
    options = "--pca-components 2 --whiten --subtract-mean --measure euclidean"
    finished = command(
        *shared,
        "--out",
        tmp_path / "a",
        *options.split(),
        *"--missing lowest --rule all".split(),
    )
    assert finished.code == 0, finished.err
    numbers = json.loads((tmp_path / "a" / "report.json").read_text())
    names = ["PCA to 2 whitened, euclidean", "euclidean, mean subtracted"]
    assert [model["name"] for model in numbers["models"]] == names
    assert [rule["name"] for rule in numbers["rules"]] == list(RULES)
    assert "rule in-sample: " in finished.out
    assert "biased" in finished.out
    assert numbers["models"][0]["missing"] == {
        "rule": "lowest",
        "num_photos": 1,
        "num_pairs": sum(PHOTOS[0] in line for line in pairs.open()),
        "photos": [PHOTOS[0]],
    }
    for name, arguments in zip(
        names,
        ({"pca_components": 2, "whiten": True}, {"subtract_mean": True}),
        strict=True,
    ):
        expected = evaluate_pairs(
            vectors,
            PHOTOS[1:],
            read_pair_list(pairs),
            measure="euclidean",
            missing_rule="lowest",
            **arguments,
        )
        found = [float(row["score"]) for row in read_scores(tmp_path / "a", name)]
        assert found == expected.scores.tolist()
    refused = command(*shared, "--out", tmp_path / "b", "--missing", "error")
    assert refused.code == 2
    assert PHOTOS[0] in refused.err
    assert refused.err.count("\n") == 1
    assert not (tmp_path / "b").exists()


def test_the_prominent_face_of_the_photos_that_are_named(
    tmp_path: Path, make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = write_list(tmp_path / "mine.csv", folds=True)
    photos = tmp_path / "photos"
    for name in (*PHOTOS, "Eve/Eve_0001.jpg"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(photos / name), np.zeros((8, 8, 3), np.uint8))

    class Asked(Exception):
        pass

    def align(
        source: Path,
        out: Path,
        *,
        face: str,
        only: set[str],
        template: str,
        max_pixels: int,
        by_person: bool,
    ) -> None:
        assert (source, out) == (photos, tmp_path / "out" / "crops")
        assert face == "prominent"
        assert only == set(PHOTOS)
        raise Asked

    monkeypatch.setattr(named_crops, "align", align)
    model = make_model(tmp_path / "model.safetensors")
    with pytest.raises(Asked):
        evaluate_list(tmp_path / "out", pairs, Inputs(model, photos))


def write_view_1(folder: Path) -> list[Path]:
    """Train on Ann and Bob, test on Cy and Dee."""
    paths = [folder / "pairsDevTrain.txt", folder / "pairsDevTest.txt"]
    paths[0].write_text(
        "2\nAnn\t1\t2\nBob\t2\t3\nAnn\t1\tBob\t1\nAnn\t3\tBob\t2\n", encoding="utf-8"
    )
    paths[1].write_text(
        "3\nCy\t1\t2\nCy\t2\t3\nDee\t1\t3\n"
        "Cy\t1\tDee\t1\nCy\t3\tDee\t2\nCy\t1\tDee\t2\n",
        encoding="utf-8",
    )
    return paths


def test_view_1_chooses_on_one_file_and_tests_on_the_other(
    tmp_path: Path, embeddings: Path, command: Command
) -> None:
    train, test = write_view_1(tmp_path)
    with np.load(embeddings) as file:
        vector = dict(zip(PHOTOS, file["embeddings"].astype(float), strict=True))
    pairs = read_lfw_view_1(train, test)
    scores = np.array(
        [
            vector[a]
            @ vector[b]
            / np.linalg.norm(vector[a])
            / np.linalg.norm(vector[b])
            for a, b in zip(pairs.left, pairs.right, strict=True)
        ]
    )
    threshold = best_threshold(scores[:4], pairs.same[:4])
    accuracy = float(np.mean((scores[4:] > threshold) == pairs.same[4:]))
    inputs = Inputs(embeddings=embeddings)
    found = evaluate_lfw_view_1(
        tmp_path / "out", [train, test], inputs, Judging(pca_components=2)
    )
    assert list(found.accuracies) == ["PCA to 2, cosine", "cosine"]
    assert found.accuracies["cosine"] == accuracy
    path = tmp_path / "out" / "view_1.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    more = {"warnings": [], "report": str(path)}
    assert found.to_dict() == {**written, **more}
    finished = command(
        *("evaluate", "lfw", "--pairs", train, "--pairs", test, "--no-pca"),
        *("--embeddings", embeddings, "--out", tmp_path / "out"),
    )
    assert finished.code == 0, finished.err
    line, last = finished.out.splitlines()
    assert line.startswith(f"cosine: {accuracy:.2%} of 6 DevTest pairs (95% interval ")
    assert line.endswith(f"threshold {threshold:.4f} chosen on 4 DevTrain pairs")
    assert last == f"numbers: {path}"
    numbers = json.loads(path.read_text(encoding="utf-8"))
    assert (numbers["num_train_pairs"], numbers["num_test_pairs"]) == (4, 6)
    digest = hashlib.sha256(test.read_bytes()).hexdigest()
    assert numbers["settings"]["test_pairs_sha256"] == digest
    [model] = numbers["models"]
    assert (model["accuracy"], model["threshold"]) == (
        accuracy,
        pytest.approx(threshold),
    )
    low, high = model["wilson"]["accuracy"]
    assert low < accuracy <= high
    assert (model["missing_photos"], model["num_test_pairs_without_score"]) == ([], 0)


def test_view_1_counts_what_is_missing(tmp_path: Path, embeddings: Path) -> None:
    with np.load(embeddings) as file:
        vectors, images = file["embeddings"], file["images"]
    kept = images != next(name for name in images if name.startswith("Dee/"))
    less = tmp_path / "less.npz"
    np.savez(less, embeddings=vectors[kept], images=images[kept])
    files = write_view_1(tmp_path)
    evaluate_lfw_view_1(
        tmp_path / "out", files, Inputs(embeddings=less), Judging(pca=False)
    )
    [model] = json.loads((tmp_path / "out" / "view_1.json").read_text())["models"]
    assert model["missing_photos"] == ["Dee/Dee_0001.jpg"]
    # Dee 1 is in one genuine and one impostor pair of DevTest.
    assert model["num_test_pairs_without_score"] == 2


def test_view_1_has_two_files(tmp_path: Path, embeddings: Path) -> None:
    train, test = write_view_1(tmp_path)
    inputs = Inputs(embeddings=embeddings)
    with pytest.raises(ParameterError, match="got 3 pairs files"):
        evaluate_lfw_view_1(tmp_path / "out", [train, test, test], inputs)
    copy = tmp_path / "copy.txt"
    copy.write_bytes(train.read_bytes())
    with pytest.raises(DataError, match=r"copy\.txt, line 2: expected a new pair"):
        evaluate_lfw_view_1(tmp_path / "out", [train, copy], inputs)
    with pytest.raises(ParameterError, match=r"in this order, got pairsDevTest\.txt"):
        evaluate_lfw_view_1(tmp_path / "out", [test, train], inputs)
    with pytest.raises(ParameterError, match="must be exact, got 'all'"):
        evaluate_lfw_view_1(
            tmp_path / "out", [train, test], inputs, Judging(rule="all")
        )
