import csv
import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from facever.data.store.crop_store import CropStore
from facever.data.store.writer import CropWriter
from facever.errors import DataError, ParameterError
from facever.stages.evaluation.evaluate import evaluate_list
from facever.stages.evaluation.features import Inputs
from facever.stages.evaluation.judging import Judging
from facever.verification.protocols import read_pair_list

NUM_PEOPLE = 10


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Crops of which every third is blurred and was small in its photo."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "crops"
    listing = [(f"P{p}/{n}.png", f"P{p}") for p in range(NUM_PEOPLE) for n in range(3)]
    with CropWriter(folder, {}, listing) as writer:
        for place, (source, _) in enumerate(listing):
            crop = rng.integers(0, 255, (112, 96, 3)).astype(np.uint8)
            if place % 3 == 2:
                crop = cv2.GaussianBlur(crop, (0, 0), 3)
            points = np.array([[30, 50], [66, 50], [48, 70], [34, 92], [62, 92]], float)
            points = points * (0.2 + place / 10)
            writer.add(source, crop[None], points[None], np.array([0.5 + place / 100]))
        writer.finish()
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    photos = [f"P{p}/{n}.png" for p in range(NUM_PEOPLE) for n in range(3)]
    couples = list(combinations(photos, 2))
    genuine = [pair for pair in couples if pair[0][:3] == pair[1][:3]]
    impostor = [pair for pair in couples if pair[0][:3] != pair[1][:3]][::3]
    path = tmp_path / "pairs.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("left", "right", "same"))
        writer.writerows((*pair, 1) for pair in genuine)
        writer.writerows((*pair, 0) for pair in impostor)
    return path


def test_measured_qualities_from_the_command_to_the_page(
    tmp_path: Path,
    store: Path,
    pairs: Path,
    make_model: Callable[..., Path],
    command: Callable[..., Any],
) -> None:
    table = tmp_path / "mine.csv"
    photos = read_pair_list(pairs).sources
    lines = [f"{photo},{place},{place % 3}" for place, photo in enumerate(photos)]
    table.write_text("\n".join(["photo,place,third", *lines[1:]]) + "\n")
    names = ("sharpness", "eye-distance", "detector-score", "landmark-fit")
    wanted = (*names, "embedding-length", str(table))
    model = make_model(tmp_path / "m.safetensors")
    finished = command(
        *("evaluate", "pairs", model, "--crops", store, "--pairs", pairs),
        *("--out", tmp_path / "out", "--no-pca"),
        *(word for each in wanted for word in ("--quality", each)),
    )
    assert finished.code == 0, finished.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    found = {each["quality"]: each for each in report["qualities"]["curves"]}
    assert list(found) == [*names, "embedding-length", "place", "third"]
    opened = CropStore.open(store)
    quality_of = {
        "eye-distance": 36 * (0.2 + np.arange(30) / 10),
        "detector-score": opened.scores,
        "landmark-fit": -opened.residuals,
    }
    for name, values in quality_of.items():
        by_source = dict(zip(opened.sources, values, strict=True))
        listed = read_pair_list(pairs)
        lowest = sorted(
            {
                min(by_source[left], by_source[right])
                for left, right, same in zip(
                    listed.left, listed.right, listed.same, strict=True
                )
                if same
            }
        )
        assert len(found[name]["discarded"]) == len(lowest)
        cutoffs = [cut["cutoff"] for cut in found[name]["cuts"]]
        assert all(np.isclose(cutoff, values).any() for cutoff in cutoffs)
    # A third is blurred: all cut-offs up to a fifth are of a blurred crop's sharpness.
    sharp = [cut["cutoff"] for cut in found["sharpness"]["cuts"]]
    grey = [
        cv2.cvtColor(np.array(crop), cv2.COLOR_RGB2GRAY) for crop in opened.crops[:]
    ]
    variances = [cv2.Laplacian(each, cv2.CV_64F).var() for each in grey]
    assert max(sharp) <= max(variances[2::3]) < min(variances[::3])
    assert found["place"]["num_photos_without"] == 1
    assert found["place"]["num_pairs_left_out"] > 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Quality of photos" in page
    assert "place is not known of 1 photo" in page


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("photo\nP0/0.png\n", "a column for each quality"),
        ("photo,q\nP0/0.png,good\n", "line 2, column q: expected a number"),
        ("photo,q\nP0/0.png,nan\n", "line 2, column q: expected a number"),
        ("photo,q\nP0/0.png,1\nP0/0.png,2\n", "line 3, column photo: .*once"),
        ("photo,q\n", "no photo"),
        ("photo,q\nX/0.png,1\n", "no line names a photo of the pairs, such as 'P"),
    ],
)
def test_tables_that_say_nothing_sensible(
    tmp_path: Path,
    store: Path,
    pairs: Path,
    make_model: Callable[..., Path],
    text: str,
    said: str,
) -> None:
    table = tmp_path / "mine.csv"
    table.write_text(text)
    inputs = Inputs(model=make_model(tmp_path / "m.safetensors"), crops=store)
    judging = Judging(pca=False, quality=(str(table),))
    with pytest.raises(DataError, match=said):
        evaluate_list(tmp_path / "out", pairs, inputs, judging)


def test_names_are_refused_before_the_work(tmp_path: Path, pairs: Path) -> None:
    embeddings = tmp_path / "e.npz"
    photos = read_pair_list(pairs).sources
    vectors = np.random.default_rng(0).normal(size=(len(photos), 4))
    np.savez(embeddings, embeddings=vectors, images=np.array(photos))
    inputs = Inputs(embeddings=embeddings)
    for wanted, said in (
        ("sharpness", "measured on crops"),
        ("sharp", "must be embedding-length, landmark-fit.* 'sharp' is none of"),
    ):
        judging = Judging(pca=False, quality=(wanted,))
        with pytest.raises(ParameterError, match=said):
            evaluate_list(tmp_path / "out", pairs, inputs, judging)
    mine = tmp_path / "mine.csv"
    mine.write_text(f"photo,embedding-length\n{photos[0]},1\n")
    judging = Judging(pca=False, quality=("embedding-length", str(mine)))
    with pytest.raises(ParameterError, match="embedding-length is given 2 times"):
        evaluate_list(tmp_path / "out", pairs, inputs, judging)
    judging = Judging(pca=False, quality=("embedding-length",))
    report = evaluate_list(tmp_path / "out", pairs, inputs, judging)
    assert report.qualities is not None
    [(name, curve)] = report.qualities.curves.items()
    assert name == "embedding-length"
    assert curve.num_photos_without == 0


def test_without_a_quality_nothing_changes(tmp_path: Path, pairs: Path) -> None:
    embeddings = tmp_path / "e.npz"
    photos = read_pair_list(pairs).sources
    vectors = np.random.default_rng(0).normal(size=(len(photos), 4))
    np.savez(embeddings, embeddings=vectors, images=np.array(photos))
    numbers = []
    for quality in ((), ("embedding-length",)):
        out = tmp_path / f"out{len(quality)}"
        judging = Judging(pca=False, quality=quality)
        evaluate_list(out, pairs, Inputs(embeddings=embeddings), judging)
        numbers.append(json.loads((out / "report.json").read_text()))
    assert numbers[0].pop("qualities") is None
    assert numbers[1].pop("qualities") is not None
    assert numbers[0] == numbers[1]


def test_normalised_embeddings_have_no_length(tmp_path: Path, pairs: Path) -> None:
    embeddings = tmp_path / "e.npz"
    photos = read_pair_list(pairs).sources
    vectors = np.random.default_rng(0).normal(size=(len(photos), 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    images = np.array(photos)
    np.savez(embeddings, embeddings=vectors.astype(np.float16), images=images)
    judging = Judging(pca=False, quality=("embedding-length",))
    with pytest.raises(DataError, match="all of one length"):
        evaluate_list(tmp_path / "out", pairs, Inputs(embeddings=embeddings), judging)


def sharpness_of(store: CropStore) -> dict[str, float]:
    grey = [cv2.cvtColor(np.array(c), cv2.COLOR_RGB2GRAY) for c in store.crops[:]]
    edges = [cv2.Laplacian(each, cv2.CV_64F).var() for each in grey]
    return dict(zip(store.sources, edges, strict=True))


def without(store: CropStore, folder: Path, lost: dict[str, str]) -> Path:
    """A copy of a store in which some photos gave no crop."""
    listing = [(s, store.identity_of(row)) for row, s in enumerate(store.sources)]
    with CropWriter(folder, {}, listing) as writer:
        for row, source in enumerate(store.sources):
            if source in lost:
                writer.fail(source, lost[source])
            else:
                facts = store.landmarks[[row]], store.scores[[row]]
                writer.add(source, np.array(store.crops[[row]]), *facts)
        writer.finish()
    return folder


def test_a_refused_photo_counts_as_one_without_a_face(
    tmp_path: Path,
    store: Path,
    pairs: Path,
    make_model: Callable[..., Path],
    command: Callable[..., Any],
) -> None:
    """The numbers are those of a store whose ledger has the refused photos."""
    opened = CropStore.open(store)
    table = tmp_path / "mine.csv"
    value_of = {f"P{p}/{n}.png": p * 10 + n for p in range(9) for n in range(3)}
    lines = [f"{photo},{value}" for photo, value in value_of.items()]
    table.write_text("\n".join(["photo,light", *lines]) + "\n")
    edges = sharpness_of(opened)
    least = float(np.quantile([*edges.values()], 0.2))
    lost = {
        source: f"quality too low: light is {value}, and at least 11 is asked for"
        for source in opened.sources
        if (value := value_of.get(source, "not known")) == "not known" or value < 11
    }
    for source in opened.sources:
        if edges[source] < least:
            lost[source] = (
                f"quality too low: sharpness is {edges[source]:.6g}, and at least "
                f"{least:g} is asked for"
            )
    # P9 is not in the table, P0 and P1/0 are below, some others are blurred.
    assert 7 < len(lost) < 15
    model = make_model(tmp_path / "m.safetensors")
    finished = command(
        *("evaluate", "pairs", model, "--crops", store, "--pairs", pairs),
        *("--out", tmp_path / "out", "--no-pca", "--quality", "sharpness"),
        *("--min-quality", f"sharpness={least!r}", "--min-quality", f"{table}=11"),
    )
    assert finished.code == 0, finished.err
    num_blurred = sum(value < least for value in edges.values())
    assert (
        f"{len(lost)} of 30 photos with an embedding are refused for their quality, "
        f"and count as failures to acquire: {num_blurred} by {least:g} of sharpness, "
        f"{len(lost) - num_blurred} by 11 of light"
    ) in finished.out
    judging = Judging(pca=False, quality=("sharpness",))
    fewer = without(opened, tmp_path / "fewer", lost)
    evaluate_list(tmp_path / "as", pairs, Inputs(model=model, crops=fewer), judging)
    found, expected = (
        json.loads((tmp_path / out / "report.json").read_text())
        for out in ("out", "as")
    )
    acquired = found["models"][0]["error_rates"]["failure_to_acquire"]
    assert (acquired["num_errors"], acquired["num_trials"]) == (len(lost), 30)
    for report in (found, expected):
        del report["settings"]
    assert found == expected
    for name in ("scores.csv", "det.svg"):
        of = [(tmp_path / out / name).read_bytes() for out in ("out", "as")]
        assert of[0] == of[1]
    page = (tmp_path / "out" / "report.html").read_text()
    assert next(iter(lost.values())).replace("'", "&#x27;") in page


def test_embeddings_are_refused_by_their_length(tmp_path: Path, pairs: Path) -> None:
    embeddings = tmp_path / "e.npz"
    photos = read_pair_list(pairs).sources
    vectors = np.random.default_rng(0).normal(size=(len(photos), 4))
    lengths = np.linalg.norm(vectors, axis=1)
    np.savez(embeddings, embeddings=vectors, images=np.array(photos))
    least = float(np.median(lengths))
    inputs = Inputs(embeddings=embeddings, min_quality={"embedding-length": least})
    report = evaluate_list(tmp_path / "out", pairs, inputs, Judging(pca=False))
    found = report.evaluations["cosine"].missing
    assert sorted(found) == sorted(np.array(photos)[lengths < least])


@pytest.mark.parametrize(
    ("min_quality", "error", "said"),
    [
        ({"sharpness": 1.0}, ParameterError, "--min-quality sharpness is measured on"),
        ({"sharp": 1.0}, ParameterError, "--min-quality must be embedding-length"),
        ({"embedding-length": np.nan}, ParameterError, "must be a finite number"),
        ({"two.csv": 1.0}, DataError, r"several qualities \(a, b\)"),
        ({"a.csv": 1.0, "./a.csv": 2.0}, ParameterError, "a is given 2 times"),
    ],
)
def test_cutoffs_that_cannot_be_meant_are_refused_before_the_work(
    tmp_path: Path,
    pairs: Path,
    monkeypatch: pytest.MonkeyPatch,
    min_quality: dict[str, float],
    error: type[Exception],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("two.csv").write_text("photo,a,b\nP0/0.png,1,2\n")
    Path("a.csv").write_text("photo,a\nP0/0.png,1\n")
    # The work would begin with the embeddings, which are not there.
    inputs = Inputs(embeddings="none.npz", min_quality=min_quality)
    with pytest.raises(error, match=said):
        evaluate_list(tmp_path / "out", pairs, inputs, Judging(pca=False))


def test_a_cutoff_that_no_photo_reaches(tmp_path: Path, pairs: Path) -> None:
    photos = read_pair_list(pairs).sources
    vectors = np.random.default_rng(0).normal(size=(len(photos), 4))
    path = tmp_path / "e.npz"
    np.savez(path, embeddings=vectors, images=np.array(photos))
    inputs = Inputs(embeddings=path, min_quality={"embedding-length": 1e9})
    with pytest.raises(DataError, match="none of 30 photos is good enough, such"):
        evaluate_list(tmp_path / "out", pairs, inputs, Judging(pca=False))
