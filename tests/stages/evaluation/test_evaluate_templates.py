import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from facever.errors import DataError, FaceverError, ParameterError
from facever.stages.evaluation.features import Inputs
from facever.stages.evaluation.templates import evaluate_templates

Command = Callable[..., Any]
NUM_PEOPLE = 12
POINTS = "46.060 62.026 87.785 60.323 68.851 77.656 52.162 99.875 86.450 98.648"


class Lists:
    """A set in IJB-C's layout: each person has an enrolled and two probe templates.

    A template has two stills and a video of two frames.
    """

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        self.templates = folder / "tiny_face_tid_mid.txt"
        self.pairs = folder / "tiny_template_pair_label.txt"
        self.scores = folder / "tiny_name_5pts_score.txt"
        self.galleries = [
            folder / "tiny_1N_gallery_G1.csv",
            folder / "tiny_1N_gallery_G2.csv",
        ]
        self.probes = folder / "tiny_1N_probe_mixed.csv"
        self.embeddings = folder / "tiny.npz"
        center = rng.normal(size=(NUM_PEOPLE, 6))
        self.person = np.repeat(np.arange(NUM_PEOPLE), 3)
        # Numbers of templates with gaps, of every person's templates apart.
        self.ids = 5 + 7 * np.arange(len(self.person))
        self.photos: list[str] = []
        self.lines: list[tuple[str, int, int]] = []
        rows = []
        for number, person in zip(self.ids.tolist(), self.person, strict=True):
            for medium in (number, number + 1000, 3, 3):
                name = f"{len(self.photos) + 1}.jpg"
                self.photos.append(name)
                self.lines.append((name, number, medium))
                rows.append(center[person] + 0.9 * rng.normal(size=6))
        self.vectors = np.array(rows, np.float32)
        self.weights = rng.uniform(0.1, 1, len(self.photos)).round(3)
        self.templates.write_text(
            "".join(f"{name} {t} {m}\n" for name, t, m in self.lines)
        )
        self.scores.write_text(
            "".join(
                f"{name} {POINTS} {score}\n"
                for name, score in zip(self.photos, self.weights, strict=True)
            )
        )
        enrolled, searched = self.ids[::3], np.delete(self.ids, np.s_[::3])
        self.listed = [(int(a), int(b)) for a in enrolled for b in searched]
        self.pairs.write_text(
            "".join(f"{a} {b} {int(self.same(a, b))}\n" for a, b in self.listed)
        )
        self.write_subjects(self.galleries[0], enrolled[: NUM_PEOPLE // 2])
        self.write_subjects(self.galleries[1], enrolled[NUM_PEOPLE // 2 :])
        self.write_subjects(self.probes, searched)
        self.write_embeddings(range(len(self.photos)))

    def person_of(self, template: int) -> int:
        return int(self.person[np.flatnonzero(self.ids == template)[0]])

    def same(self, left: int, right: int) -> bool:
        return self.person_of(left) == self.person_of(right)

    def write_subjects(self, path: Path, templates: np.ndarray) -> None:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["TEMPLATE_ID", "SUBJECT_ID", "FILENAME", "FACE_X"])
            for template in templates.tolist():
                subject = 500 + self.person_of(template)
                writer.writerows([(template, subject, f"img/{n}.png", 1) for n in "12"])

    def write_embeddings(self, kept: "range | list[int]") -> None:
        images = np.array([self.photos[row].replace(".jpg", ".png") for row in kept])
        np.savez(self.embeddings, embeddings=self.vectors[list(kept)], images=images)

    def pool(
        self, missing: "frozenset[int]" = frozenset(), weighted: bool = False
    ) -> dict[int, np.ndarray]:
        """Templates with an embedding, media by media."""
        found = {}
        for number in self.ids.tolist():
            media: dict[int, list[np.ndarray]] = {}
            for row, (_, template, medium) in enumerate(self.lines):
                if template == number and row not in missing:
                    weight = self.weights[row] if weighted else 1.0
                    media.setdefault(medium, []).append(
                        weight * self.vectors[row].astype(float)
                    )
            if media:
                total = sum(sum(frames) / len(frames) for frames in media.values())
                found[number] = total / np.linalg.norm(total)
        return found

    def cosines(self, pooled: dict[int, np.ndarray]) -> np.ndarray:
        return np.array(
            [
                pooled[a] @ pooled[b] if a in pooled and b in pooled else -np.inf
                for a, b in self.listed
            ]
        )

    def truth(self) -> np.ndarray:
        return np.array([self.same(a, b) for a, b in self.listed])


@pytest.fixture
def lists(tmp_path: Path) -> Lists:
    return Lists(tmp_path)


def best_tar(scores: np.ndarray, same: np.ndarray, target: float) -> float:
    impostor = scores[~same]
    return max(
        float(np.mean(scores[same] > threshold))
        for threshold in np.append(scores[np.isfinite(scores)], -9.0)
        if np.mean(impostor > threshold) <= target
    )


def test_from_the_command_to_its_files(
    tmp_path: Path, lists: Lists, command: Command
) -> None:
    out = tmp_path / "out"
    finished = command(
        *("evaluate", "templates", "--templates", lists.templates),
        *("--pairs", lists.pairs, "--embeddings", lists.embeddings, "--out", out),
        *("--gallery", lists.galleries[0], "--gallery", lists.galleries[1]),
        *("--probes", lists.probes, "--scores", lists.scores),
    )
    assert finished.code == 0, finished.err
    assert sorted(path.name for path in out.iterdir()) == [
        *("cmc.png", "det.png", "det.svg", "report.html", "roc.png", "roc.svg"),
        *("scores.npy", "templates.json"),
    ]
    pooled = lists.pool(weighted=True)
    expected = lists.cosines(pooled)
    scores = np.load(out / "scores.npy")
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    numbers = json.loads((out / "templates.json").read_text())
    assert numbers["templates"] == {
        "num_templates": 36,
        "num_media": 108,
        "num_photos": 144,
        "num_missing_photos": 0,
        "missing": [],
    }
    assert "multiplied by the detector's scores" in numbers["settings"]["pooling"]
    pairs = numbers["verification"]
    assert (pairs["num_pairs"], pairs["num_genuine"]) == (288, 24)
    assert pairs["num_people"] == NUM_PEOPLE
    at_10, at_1, at_01, *_ = pairs["tar_at_far"]
    assert at_10["tar"] == best_tar(expected, lists.truth(), 0.1)
    assert at_1["tar"] == best_tar(expected, lists.truth(), 0.01)
    assert 0 < at_1["tar"] < at_10["tar"] <= 1
    assert at_1["wilson"][0] < at_1["tar"] < at_1["wilson"][1]
    assert at_01["tar"] is at_01["wilson"] is None
    assert "needs at least 1,000 impostor pairs" in at_01["note"]

    firsts = []
    for gallery, name in zip((range(6), range(6, 12)), ("G1", "G2"), strict=True):
        enrolled = [int(lists.ids[3 * person]) for person in gallery]
        probes = [
            (int(lists.ids[3 * person + n]), int(lists.ids[3 * person]))
            for person in gallery
            for n in (1, 2)
        ]
        right = [
            own == max(enrolled, key=lambda other: pooled[probe] @ pooled[other])
            for probe, own in probes
        ]
        firsts.append(np.mean(right))
        found = numbers["identification"]["galleries"][int(name[1]) - 1]
        assert found["gallery"] == f"tiny_1N_gallery_{name}"
        assert found["cmc"][0] == pytest.approx(firsts[-1])
        assert (found["num_mated_probes"], found["num_unmated_probes"]) == (12, 12)
    mean = numbers["identification"]["mean"]
    assert mean["cmc"][0] == pytest.approx(np.mean(firsts))

    lines = finished.out.splitlines()
    assert lines[0] == "36 templates of 108 media and 144 photos"
    assert f"TAR@FAR 0.01: {at_1['tar']:.2%} (95% interval" in finished.out
    assert f"mean of galleries: rank 1 {np.mean(firsts):.2%}" in finished.out
    assert lines[-1] == f"report: {out / 'report.html'}"
    page = (out / "report.html").read_text()
    assert f"{100 * at_1['tar']:.2f} %" in page
    assert f"{100 * np.mean(firsts):.2f} %" in page
    assert "Of 1,000 searches for somebody who is enrolled" in page
    assert cv2.imread(str(out / "roc.png")) is not None
    # A later run replaces its own report.
    again = command(
        *("evaluate", "templates", "--templates", lists.templates, "--out", out),
        *("--pairs", lists.pairs, "--embeddings", lists.embeddings, "--json"),
    )
    assert json.loads(again.out)["identification"] is None


def test_missing_photos_and_templates_are_counted(tmp_path: Path, lists: Lists) -> None:
    # One photo of the first template, all of the second and of the fourth, which is
    # enrolled; and an embedding of a photo that no template has.
    missing = frozenset([0, *range(4, 8), *range(12, 16)])
    lists.write_embeddings([row for row in range(144) if row not in missing])
    with np.load(lists.embeddings) as file:
        np.savez(
            lists.embeddings,
            embeddings=np.append(file["embeddings"], np.ones((1, 6), np.float32), 0),
            images=np.append(file["images"], "other.png"),
        )
    report = evaluate_templates(
        tmp_path / "out",
        lists.templates,
        Inputs(embeddings=lists.embeddings),
        pairs=lists.pairs,
        galleries=lists.galleries,
        probes=lists.probes,
    )
    expected = lists.cosines(lists.pool(missing))
    found = report.found
    assert found.missing == [12, 26]
    assert found.num_missing_photos == 9
    assert found.verified is not None
    np.testing.assert_allclose(found.verified.scores, expected, atol=1e-6)
    # A person's two genuine pairs and all impostor pairs of an enrolled template, and
    # the pairs of a probe template.
    assert found.verified.num_missing_pairs == 24 + 12 - 1
    numbers = report.to_dict()
    at_10 = numbers["verification"]["tar_at_far"][0]
    assert at_10["tar"] == best_tar(expected, lists.truth(), 0.1)
    acquired = numbers["verification"]["error_rates"]["failure_to_acquire"]
    assert (acquired["num_errors"], acquired["num_trials"]) == (2, 36)
    gallery = numbers["identification"]["galleries"][0]
    assert gallery["missing_gallery"] == [26]
    assert gallery["missing_probes"] == [12]
    text = str(report)
    assert "1 embeddings are of photos in no template and are not used" in text
    assert "9 of 144 photos have no embedding and are left out" in text
    assert "2 templates have no embedding at all, such as 12" in text
    page = report.page.read_text()
    assert "<li>template 26</li>" in page
    assert "2 of 36 templates gave no embedding (failure to" in page


def test_order_of_lines_changes_nothing(tmp_path: Path, lists: Lists) -> None:
    def run(name: str) -> Any:
        report = evaluate_templates(
            tmp_path / name,
            lists.templates,
            Inputs(embeddings=lists.embeddings),
            pairs=lists.pairs,
            galleries=lists.galleries,
            probes=lists.probes,
            scores=lists.scores,
        )
        return {**report.to_dict(), "report": None, "notes": None}

    before = run("before")
    rng = np.random.default_rng(1)
    for path in (lists.templates, lists.pairs, lists.scores, lists.probes):
        lines = path.read_text().splitlines()
        head = [lines.pop(0)] if path.suffix == ".csv" else []
        moved = [lines[place] for place in rng.permutation(len(lines))]
        path.write_text("\n".join([*head, *moved]) + "\n")
    lists.write_embeddings(rng.permutation(144).tolist())
    assert run("after") == before


def test_what_does_not_fit_is_refused(tmp_path: Path, lists: Lists) -> None:
    out, inputs = tmp_path / "out", Inputs(embeddings=lists.embeddings)

    def refuse(error: type[FaceverError], said: str, **options: Any) -> None:
        with pytest.raises(error) as caught:
            evaluate_templates(out, lists.templates, inputs, **options)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not out.exists()

    refuse(ParameterError, "give pairs of templates, or galleries and probes")
    refuse(ParameterError, "gallery is given and no probes", galleries=lists.galleries)
    refuse(ParameterError, "probes is given and no gallery", probes=lists.probes)
    refuse(
        ParameterError,
        "galleries are told apart by the names of their files",
        galleries=[lists.galleries[0], lists.galleries[0]],
        probes=lists.probes,
    )
    refuse(
        DataError,
        "24 templates are in the gallery tiny_1N_probe_mixed and among the probes",
        galleries=[lists.probes],
        probes=lists.probes,
    )
    lists.write_subjects(lists.galleries[1], lists.ids[-2:])
    lists.write_subjects(lists.probes, lists.ids[1:3])
    refuse(
        DataError,
        "none of the probes is of somebody in the gallery tiny_1N_gallery_G2, such as",
        galleries=lists.galleries,
        probes=lists.probes,
    )
    np.savez(
        lists.embeddings, embeddings=np.ones((1, 4), np.float32), images=np.array(["x"])
    )
    refuse(
        DataError,
        "none of the 144 photos of the templates, such as 1.jpg, has an embedding; "
        "there are 1, such as of x",
        pairs=lists.pairs,
    )
