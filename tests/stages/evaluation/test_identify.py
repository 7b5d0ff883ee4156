import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from facever.data.store.writer import CropWriter
from facever.errors import DataError, FaceverError, ParameterError
from facever.inference.embedder import load
from facever.stages.evaluation.features import Inputs
from facever.stages.evaluation.identify import blufr, identify
from facever.verification.identification.blufr import evaluate_blufr
from facever.verification.identification.gallery_search import IdentityList
from facever.verification.protocols import blufr_trials
from facever.verification.protocols.blufr_trials import draw_blufr_trials

Command = Callable[..., Any]
ENROLLED = [f"P{p}/{n}.jpg" for p in range(8) for n in range(2)]
# Eight people who are enrolled, and six who are not.
SEARCHED = [f"P{p}/{n}.jpg" for p in range(14) for n in range(2, 5)]
NOBODY = "P9/3.jpg"
MISSING = [ENROLLED[4], SEARCHED[1], NOBODY]


def write_list(path: Path, images: list[str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "identity"])
        writer.writerows((image, image.partition("/")[0]) for image in images)
    return path


def draw_embeddings(images: list[str], dim: int = 6) -> np.ndarray:
    """Of people who are neither trivial nor hopeless to tell apart."""
    rng = np.random.default_rng(0)
    people = [image.partition("/")[0] for image in images]
    center = {person: rng.normal(size=dim) for person in dict.fromkeys(people)}
    noise = 0.5 * rng.normal(size=(len(images), dim))
    return (np.stack([center[p] for p in people]) + noise).astype(np.float32)


@pytest.fixture
def lists(tmp_path: Path) -> list[Path]:
    return [
        write_list(tmp_path / "gallery.csv", ENROLLED),
        write_list(tmp_path / "probes.csv", SEARCHED),
    ]


@pytest.fixture
def embeddings(tmp_path: Path) -> Path:
    """Of all photos but three, stored under another extension."""
    images = [image for image in (*ENROLLED, *SEARCHED) if image not in MISSING]
    names = [image.replace(".jpg", ".png") for image in images]
    path = tmp_path / "embeddings.npz"
    np.savez(path, embeddings=draw_embeddings(images), images=np.array(names))
    return path


def search_by_hand(path: Path) -> tuple[list[float], dict[str, Any]]:
    """CMC and TPIR at FPIR 0.1, probe by probe."""
    with np.load(path) as file:
        vector = {
            name.replace(".png", ".jpg"): row / np.linalg.norm(row)
            for name, row in zip(
                file["images"].tolist(), file["embeddings"].astype(float), strict=True
            )
        }
    ranks, hits, highest = [], [], []
    for probe in SEARCHED:
        own = probe.partition("/")[0]
        best = {f"P{p}": -np.inf for p in range(8)}
        for image in ENROLLED:
            if image in vector and probe in vector:
                person = image.partition("/")[0]
                score = float(vector[image] @ vector[probe])
                best[person] = max(best[person], score)
        if own not in best:
            highest.append(max(best.values()))
        elif probe not in vector:
            ranks.append(9)
            hits.append(-np.inf)
        else:
            ranks.append(sum(score >= best[own] for score in best.values()))
            hits.append(best[own] if ranks[-1] == 1 else -np.inf)
    cmc = [sum(rank <= k for rank in ranks) / len(ranks) for k in range(1, 9)]
    # Of 18 unmated probes one may be above the threshold: that of the second highest.
    bound = sorted(highest)[-2]
    accepted = sum(score > bound for score in hits)
    return cmc, {
        "tpir": accepted / len(hits),
        "fpir": sum(score > bound for score in highest) / len(highest),
    }


def test_identification_from_the_command_to_its_files(
    tmp_path: Path, lists: list[Path], embeddings: Path, command: Command
) -> None:
    out = tmp_path / "out"
    gallery, probes = lists
    finished = command(
        *("evaluate", "identify", "--gallery", gallery, "--probes", probes),
        *("--embeddings", embeddings, "--out", out),
    )
    assert finished.code == 0, finished.err
    assert sorted(path.name for path in out.iterdir()) == [
        "cmc.png",
        "identification.json",
        "probes.csv",
        "report.html",
    ]
    numbers = json.loads((out / "identification.json").read_text())
    cmc, open_set = search_by_hand(embeddings)
    assert 0.3 < cmc[0] < cmc[-1] < 1
    assert 0 < open_set["tpir"] < cmc[0]
    assert numbers["cmc"] == pytest.approx(cmc)
    at_10, at_1, at_01 = numbers["tpir_at_fpir"]
    assert [at_10["target_fpir"], at_1["target_fpir"]] == [0.1, 0.01]
    assert at_10["tpir"] == pytest.approx(open_set["tpir"])
    assert at_10["fpir"] == pytest.approx(open_set["fpir"])
    assert at_1["tpir"] is None
    assert "18" in at_1["note"]
    assert at_01["tpir"] is None
    assert (numbers["num_identities"], numbers["num_mated_probes"]) == (8, 24)
    assert numbers["num_unmated_probes"] == 18
    assert numbers["missing_gallery"] == [ENROLLED[4]]
    assert numbers["missing_probes"] == [SEARCHED[1], NOBODY]
    assert numbers["gallery"] == str(gallery)
    assert numbers["embeddings"] == str(embeddings)
    picture = cv2.imread(str(out / "cmc.png"))
    assert picture is not None
    # Something is drawn: neither all white nor black.
    assert 0 < (picture < 128).any(axis=2).mean() < 0.2
    lines = finished.out.splitlines()
    assert lines[0] == f"24 mated probes, 8 people: rank 1 {cmc[0]:.2%}, " + (
        f"rank 5 {cmc[4]:.2%}"
    )
    assert lines[1] == f"TPIR at FPIR 0.1: {open_set['tpir']:.2%}"
    assert "needs at least 100" in lines[2]
    assert lines[4] == "missing: 1 gallery photos, 2 probes"
    assert lines[5] == "not there: P2/0.jpg; a similar name there: P2/1.png"
    assert lines[-1] == f"report: {out / 'report.html'}"
    check_probes(out / "probes.csv", embeddings)
    page = (out / "report.html").read_text()
    assert f"{100 * cmc[0]:.2f} %</div>" in page
    assert f"{100 * open_set['tpir']:.2f} %" in page
    assert "too few probes" in page
    assert "Identification, 42 probes among 8 people" in page
    for source in (ENROLLED[4], SEARCHED[1], NOBODY):
        assert f"<li>{source}</li>" in page


def check_probes(path: Path, embeddings: Path) -> None:
    """Every probe, in order, with the photo that a loop finds nearest."""
    with np.load(embeddings) as file:
        vectors = file["embeddings"].astype(float)
        row_of = {
            name.replace(".png", ".jpg"): row / np.linalg.norm(row)
            for name, row in zip(file["images"].tolist(), vectors, strict=True)
        }
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == SEARCHED
    for row in rows:
        person = row["image"].partition("/")[0]
        assert row["identity"] == person
        assert row["enrolled"] == str(int(int(person[1:]) < 8))
        if row["image"] not in row_of:
            assert row["nearest_image"] == row["nearest_score"] == ""
            continue
        score_of = {
            image: row_of[row["image"]] @ row_of[image]
            for image in ENROLLED
            if image in row_of
        }
        nearest = max(score_of, key=lambda image: score_of[image])
        assert row["nearest_image"] == nearest
        assert row["nearest_identity"] == nearest.partition("/")[0]
        assert float(row["nearest_score"]) == pytest.approx(score_of[nearest], abs=1e-6)
        own = [s for image, s in score_of.items() if image.startswith(f"{person}/")]
        if own:
            assert float(row["own_score"]) == pytest.approx(max(own), abs=1e-6)
            assert (row["rank"] == "1") == (nearest.partition("/")[0] == person)
        else:
            assert row["own_score"] == ""


def test_numbers_hash_what_was_read(
    tmp_path: Path, lists: list[Path], embeddings: Path, types_unchecked: None
) -> None:
    found = identify(tmp_path / "a", *lists, Inputs(embeddings=embeddings))
    first = json.loads((tmp_path / "a" / "identification.json").read_text())
    lists[1].write_text(lists[1].read_text() + "\n")
    again = identify(tmp_path / "b", *lists, Inputs(embeddings=embeddings))
    second = json.loads((tmp_path / "b" / "identification.json").read_text())
    np.testing.assert_array_equal(found.found.mated_scores, again.found.mated_scores)
    numbers = found.to_dict()
    assert numbers.pop("report") == str(tmp_path / "a" / "report.html")
    assert numbers.pop("notes") == list(found.notes)
    assert numbers == {key: first[key] for key in numbers}
    assert {"cmc", "tpir_at_fpir", "missing_probes"} <= numbers.keys()
    assert first["gallery_sha256"] == second["gallery_sha256"]
    assert first["probes_sha256"] != second["probes_sha256"]
    assert first["embeddings_sha256"] == second["embeddings_sha256"]
    assert first["cmc"] == second["cmc"]


def test_a_model_and_crops(
    tmp_path: Path,
    make_model: Callable[..., Path],
    make_store: Callable[..., Path],
    types_unchecked: None,
) -> None:
    model = make_model(tmp_path / "model.safetensors")
    store = make_store(tmp_path / "crops", (3, 2, 2))
    lists = [
        write_list(tmp_path / "gallery.csv", ["P0/0.jpg", "P1/0.jpg"]),
        write_list(tmp_path / "probes.csv", ["P0/1.jpg", "P1/1.jpg", "P2/0.jpg"]),
    ]
    inputs = Inputs(model, crops=store, device="cpu", precision="fp32")
    found = identify(tmp_path / "out", *lists, inputs).found
    crops = np.load(store / "crops.npy")
    vectors = load(model, "cpu", "fp32").embed_crops(crops).astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    # The store has P0/0, P0/1, P0/2, P1/0, P1/1, P2/0 and P2/1, in this order.
    own = [vectors[0] @ vectors[1], vectors[3] @ vectors[4]]
    nearest = max(vectors[0] @ vectors[5], vectors[3] @ vectors[5])
    np.testing.assert_allclose(found.mated_scores, own, atol=1e-5)
    np.testing.assert_allclose(found.unmated_scores, [nearest], atol=1e-5)
    # The stranger and the nearest photo are shown.
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 2


def test_a_page_without_strangers_and_with_names_of_any_kind(
    tmp_path: Path, types_unchecked: None
) -> None:
    images = ["<b>A&B/1.jpg", "<b>A&B/2.jpg", "C/1.jpg", "C/2.jpg"]
    path = tmp_path / "embeddings.npz"
    vectors = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], np.float32)
    np.savez(path, embeddings=vectors, images=np.array(images))
    lists = [
        write_list(tmp_path / "gallery.csv", images[::2]),
        write_list(tmp_path / "probes.csv", images[1::2]),
    ]
    identify(tmp_path / "out", *lists, Inputs(embeddings=path))
    page = (tmp_path / "out" / "report.html").read_text()
    # Each is taken for the other.
    assert '<div class="headline">0.00 %</div>' in page
    assert "The worst 2 of 2." in page
    assert "<b>A&B" not in page
    assert "&lt;b&gt;A&amp;B" in page
    assert "for a rate of strangers" not in page


def test_nothing_is_written_when_an_input_is_wrong(
    tmp_path: Path, lists: list[Path], embeddings: Path, types_unchecked: None
) -> None:
    gallery, probes = lists
    none = tmp_path / "none"
    good = Inputs(embeddings=embeddings)
    strangers = write_list(tmp_path / "strangers.csv", ["P9/2.jpg"])
    for arguments, says in (
        ((none, probes, good), "cannot read .*none"),
        ((gallery, embeddings, good), r"embeddings\.npz is not text in UTF-8"),
        ((gallery, gallery, good), "are in the gallery and among the probes"),
        ((gallery, strangers, good), "needs a probe of somebody in the gallery"),
        ((gallery, probes, Inputs(embeddings=none)), "no embeddings file"),
        ((gallery, probes, Inputs()), "got none of them"),
    ):
        with pytest.raises(FaceverError, match=says):
            identify(tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


class TestBlufr:
    """With 5 people to train on and 5 in the gallery in place of 1,500 and 1,000."""

    IMAGES = tuple(f"P{p:02d}/P{p:02d}_000{n}.jpg" for p in range(60) for n in (1, 2))

    @pytest.fixture(autouse=True)
    def _few_people(
        self, monkeypatch: pytest.MonkeyPatch, types_unchecked: None
    ) -> None:
        monkeypatch.setattr(blufr_trials, "_NUM_TRAINING_PEOPLE", 5)
        monkeypatch.setattr(blufr_trials, "_NUM_GALLERY_PEOPLE", 5)

    def write_embeddings(self, path: Path) -> Path:
        images = list(self.IMAGES)
        vectors = draw_embeddings(images, 12)
        np.savez(path, embeddings=vectors, images=np.array(images))
        return path

    def test_drawn_trials(self, tmp_path: Path, command: Command) -> None:
        path = self.write_embeddings(tmp_path / "embeddings.npz")
        out = tmp_path / "out"
        finished = command(
            *("evaluate", "blufr", "--embeddings", path, "--out", out, "--seed", 3)
        )
        assert finished.code == 0, finished.err
        numbers = json.loads((out / "blufr.json").read_text())
        assert "NOT the official trials" in numbers["trials"]
        assert "NOT the official trials" in finished.out
        people = [image[:3] for image in self.IMAGES]
        trials = draw_blufr_trials(IdentityList(list(self.IMAGES), people), seed=3)
        vectors = draw_embeddings(list(self.IMAGES), 12)
        expected = evaluate_blufr(vectors, self.IMAGES, trials)
        rates = expected.verification_rates.tolist()
        assert numbers["verification_rates"] == rates
        assert numbers["identification_rates"] == expected.identification_rates.tolist()
        assert len(rates) == 10
        reported = np.mean(rates) - np.std(rates, ddof=1)
        assert numbers["verification_rate_at_far_0.001"] == pytest.approx(reported)
        assert f"{reported:.2%}" in finished.out
        page = (out / "report.html").read_text()
        assert f'<div class="headline">{100 * reported:.2f} %</div>' in page
        assert "NOT the official trials" in page
        assert all(f'<td class="">{100 * rate:.2f} %</td>' in page for rate in rates)
        assert 0 < reported < 1
        assert numbers["embeddings"] == str(path)
        assert numbers["missing"] == []

    def test_photos_without_a_crop_are_counted(
        self,
        tmp_path: Path,
        make_model: Callable[..., Path],
    ) -> None:
        listing = [(image, image[:3]) for image in self.IMAGES]
        rng = np.random.default_rng(0)
        unknown = np.full((1, 5, 2), np.nan), np.array([np.nan])
        store = tmp_path / "crops"
        with CropWriter(store, {}, listing) as writer:
            for image in self.IMAGES:
                if image == self.IMAGES[7]:
                    writer.fail(image, "no face found")
                else:
                    crop = rng.integers(0, 256, (1, 112, 96, 3)).astype(np.uint8)
                    writer.add(image, crop, *unknown)
            writer.finish()
        model = make_model(tmp_path / "model.safetensors")
        report = blufr(tmp_path / "out", Inputs(model, crops=store))
        results = report.found.results
        counted = sum(self.IMAGES[7] in result.missing for result in results)
        assert counted > 0
        numbers = json.loads((tmp_path / "out" / "blufr.json").read_text())
        assert numbers["missing"] == [self.IMAGES[7]]
        assert "missing: 1 photos" in report.lines()
        shown = report.to_dict()
        assert shown.pop("report") == str(report.page)
        assert shown.pop("notes") == []
        assert shown == {key: numbers[key] for key in shown}

    def test_too_few_people(self, tmp_path: Path) -> None:
        path = tmp_path / "embeddings.npz"
        images = list(self.IMAGES[:12])
        np.savez(path, embeddings=draw_embeddings(images), images=np.array(images))
        with pytest.raises(DataError, match="of 6 people 1 were left"):
            blufr(tmp_path / "out", Inputs(embeddings=path))
        assert not (tmp_path / "out").exists()

    def test_a_seed_that_is_none(self, tmp_path: Path) -> None:
        path = self.write_embeddings(tmp_path / "embeddings.npz")
        with pytest.raises(ParameterError, match="seed must be at least 0, got -1"):
            blufr(tmp_path / "out", Inputs(embeddings=path), seed=-1)

    def test_trials_that_cannot_be_read(self, tmp_path: Path) -> None:
        path = self.write_embeddings(tmp_path / "embeddings.npz")
        trials = tmp_path / "blufr_lfw_config.mat"
        inputs = Inputs(embeddings=path)
        with pytest.raises(FaceverError, match=r"no file at .*config\.mat"):
            blufr(tmp_path / "out", inputs, trials)
        trials.write_text("no matrix")
        with pytest.raises(FaceverError, match=r"config\.mat is no MATLAB file") as bad:
            blufr(tmp_path / "out", inputs, trials)
        assert "\n" not in str(bad.value)
        assert not (tmp_path / "out").exists()
