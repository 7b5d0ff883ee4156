import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from facever.data.store.writer import CropWriter
from facever.errors import DataError, FaceverError, FileError, ParameterError
from facever.inference.embedder import load
from facever.stages.evaluation import named_crops
from facever.stages.evaluation.evaluate import PairReport, evaluate_lfw
from facever.stages.evaluation.features import Inputs
from facever.stages.evaluation.judging import Judging
from facever.verification.evaluation import evaluate_pairs
from facever.verification.protocols import read_lfw_pairs

FILES = [
    *("det.png", "det.svg", "report.html", "report.json", "roc.png", "roc.svg"),
    "scores.csv",
]
INPUTS = {field.name for field in dataclasses.fields(Inputs)}
PEOPLE = ("Ann_Lee", "Bob", "Cy", "Dee")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two folds of 3 + 3 pairs; of Dee only photo 1 is named."""
    path = tmp_path / "pairs.txt"
    path.write_text(
        "2\t3\n"
        "Ann_Lee\t1\t2\nAnn_Lee\t2\t3\nBob\t1\t2\n"
        "Ann_Lee\t1\tBob\t1\nAnn_Lee\t2\tCy\t1\nBob\t3\tDee\t1\n"
        "Cy\t1\t2\nCy\t2\t3\nBob\t2\t3\n"
        "Cy\t1\tBob\t1\nCy\t3\tAnn_Lee\t3\nDee\t1\tCy\t2\n"
    )
    return path


def names(extension: str = "jpg", more: int = 0) -> list[str]:
    return [f"{p}/{p}_{n:04d}.{extension}" for p in PEOPLE for n in range(1, 4 + more)]


@pytest.fixture
def embeddings(tmp_path: Path) -> Path:
    path = tmp_path / "embeddings.npz"
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(4, 6)).repeat(3, axis=0) + rng.normal(size=(12, 6)) / 2
    np.savez(path, embeddings=vectors.astype(np.float32), images=np.array(names()))
    return path


def write_store(folder: Path, sources: list[str], failed: tuple[str, ...] = ()) -> Path:
    """A crop store; each person is a coarse pattern, each photo has its own grain."""
    rng = np.random.default_rng(0)
    patterns = {
        person: rng.integers(20, 230, (7, 6, 3)).repeat(16, 0).repeat(16, 1)
        for person in PEOPLE
    }
    listing = [(source, source.partition("/")[0]) for source in sources]
    with CropWriter(folder, {}, listing) as writer:
        for source, person in listing:
            grain = rng.integers(-20, 21, (112, 96, 3))
            if source in failed:
                writer.fail(source, "no face found")
            else:
                crop = (patterns[person] + grain).astype(np.uint8)
                unknown = np.full((1, 5, 2), np.nan)
                writer.add(source, crop[None], unknown, np.array([np.nan]))
        writer.finish()
    return folder


def run(out: Path, pairs: Path, **options: Any) -> PairReport:
    """Each option goes where it belongs."""
    of_inputs = {key: options.pop(key) for key in [*options] if key in INPUTS}
    return evaluate_lfw(out, pairs, Inputs(**of_inputs), Judging(**options))


def test_crops_of_a_list_from_another_place(
    tmp_path: Path, pairs: Path, make_model: Callable[..., Path]
) -> None:
    """The same scores, missing photos and reasons, whatever stands before the names."""
    model = make_model(tmp_path / "model.safetensors")
    failed = ("Dee/Dee_0001.png", "Bob/Bob_0002.png")
    store = write_store(tmp_path / "crops", names("png"), failed)
    other = tmp_path / "other.txt"
    listed = read_lfw_pairs(pairs)
    other.write_text(
        "".join(
            f"/faces/lfw/{left} /faces/lfw/{right} {int(same)} {fold}\n"
            for left, right, same, fold in zip(
                listed.left, listed.right, listed.same, listed.fold, strict=True
            )
        )
    )
    options = {"model": model, "crops": store, "pca": False, "precision": "fp32"}
    found, expected = (
        run(tmp_path / path.stem, path, **options) for path in (other, pairs)
    )
    np.testing.assert_array_equal(
        found.evaluations["cosine"].scores, expected.evaluations["cosine"].scores
    )
    assert found.evaluations["cosine"].missing == [
        f"/faces/lfw/{name}" for name in expected.evaluations["cosine"].missing
    ]
    assert expected.warnings == ()
    assert found.warnings[1].startswith("photos are matched by the last 2 parts of")
    page = (tmp_path / "other" / "report.html").read_text(encoding="utf-8")
    assert "/faces/lfw/Bob/Bob_0002.jpg (no face found)" in page
    assert page.count("data:image/jpeg") == (
        (tmp_path / "pairs" / "report.html").read_text().count("data:image/jpeg")
    )


def test_ready_embeddings(tmp_path: Path, pairs: Path, embeddings: Path) -> None:
    out = tmp_path / "out"
    report = run(out, pairs, embeddings=embeddings)
    results = report.evaluations
    assert list(results) == ["PCA to 3, cosine", "cosine"]
    assert sorted(path.name for path in out.iterdir()) == FILES
    with np.load(embeddings) as file:
        vectors, images = file["embeddings"], file["images"].tolist()
    pair_list = read_lfw_pairs(pairs)
    for components, result in zip((3, None), results.values(), strict=True):
        expected = evaluate_pairs(vectors, images, pair_list, components)
        np.testing.assert_array_equal(result.scores, expected.scores)
        assert result.accuracy == expected.accuracy
    numbers = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert numbers["settings"]["pairs"] == str(pairs)
    # The SHA-256 of the file above, from sha256sum.
    assert numbers["settings"]["pairs_sha256"] == (
        "1fa01ffccc5dbeddf4656391bdfdb01421b50ab15a5acb174ad337dce538dcea"
    )
    lines = report.lines()
    plain = results["cosine"]
    accuracy = f"{100 * plain.accuracy:.2f} ± {100 * plain.standard_error:.2f} %"
    assert lines[1].startswith(f"cosine: accuracy {accuracy}, AUC ")
    assert "TAR@FAR 0.1 needs more pairs" in lines[1]
    assert lines[-1] == f"report: {out / 'report.html'}"
    shown = report.to_dict()
    assert shown["report"] == str(out / "report.html")
    assert shown["title"] == numbers["title"]
    for model, headline in zip(numbers["models"], shown["models"], strict=True):
        assert headline == {key: model[key] for key in headline}
        assert {"name", "accuracy", "auc", "eer", "tar_at_far"} <= headline.keys()


def test_with_fewer_components_and_without_pca(
    tmp_path: Path, pairs: Path, embeddings: Path
) -> None:
    report = run(tmp_path / "a", pairs, embeddings=embeddings, pca_components=2)
    assert list(report.evaluations) == ["PCA to 2, cosine", "cosine"]
    report = run(tmp_path / "b", pairs, embeddings=embeddings, pca=False)
    assert list(report.evaluations) == ["cosine"]


def test_model_and_crops_embed_only_what_the_pairs_name(
    tmp_path: Path,
    pairs: Path,
    make_model: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = make_model(tmp_path / "model.safetensors")
    # Stored as .png, with photos that no pair names, and one without a face.
    store = write_store(
        tmp_path / "crops", names("png", more=2), failed=("Dee/Dee_0001.png",)
    )
    result = run(
        tmp_path / "out", pairs, model=model, crops=store, pca=False, precision="fp32"
    ).evaluations["cosine"]
    assert result.missing == ["Dee/Dee_0001.jpg"]
    assert result.num_missing_pairs == 2
    # The pairs name ten photos; the store has 20 and no crop of one of the ten.
    assert "embed: 9 crops" in capsys.readouterr().err
    crops = np.load(store / "crops.npy")
    # Rows 0 and 1 of the store are the first pair's.
    first, second = load(model, precision="fp32").embed_crops(crops[:2])
    cosine = first @ second / (np.linalg.norm(first) * np.linalg.norm(second))
    assert result.scores[0] == pytest.approx(cosine, abs=1e-5)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Dee/Dee_0001.jpg (no face found)" in page
    settings = json.loads((tmp_path / "out" / "report.json").read_text())["settings"]
    assert settings["model_fingerprint"] == load(model).model_fingerprint
    assert settings["mirror"] == "sum"
    assert settings["computed_by"].startswith("torch, ")
    assert settings["embedding_size"] == 16


def test_model_and_photos_align_only_what_the_pairs_name(
    tmp_path: Path,
    pairs: Path,
    make_model: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_model(tmp_path / "model.safetensors")
    photos = tmp_path / "photos"
    for name in names("png", more=1):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(photos / name), np.zeros((8, 8, 3), np.uint8))
    named = [s.replace(".jpg", ".png") for s in read_lfw_pairs(pairs).sources]
    asked = []

    def align(
        source: Path,
        out: Path,
        *,
        face: str,
        only: set[str],
        template: str,
        max_pixels: int,
        by_person: bool,
    ) -> SimpleNamespace:
        asked.append((source, out, face, only))
        write_store(out, sorted(only))
        return SimpleNamespace(num_new=len(only))

    monkeypatch.setattr(named_crops, "align", align)
    report = run(tmp_path / "out", pairs, model=model, photos=photos, pca_components=2)
    assert asked == [(photos, tmp_path / "out" / "crops", "center", set(named))]
    assert report.evaluations["cosine"].missing == []
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert ("data:image/jpeg" in page) == ("score <b>" in page)


def test_crops_beside_embeddings_are_pictures(
    tmp_path: Path, pairs: Path, embeddings: Path
) -> None:
    store = write_store(tmp_path / "crops", names("png"))
    with np.load(embeddings) as file:
        shuffled = np.random.default_rng(0).permutation(file["embeddings"])
    np.savez(embeddings, embeddings=shuffled, images=np.array(names()))
    run(tmp_path / "out", pairs, embeddings=embeddings, crops=store)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "data:image/jpeg" in page
    assert "no picture" not in page


@pytest.mark.parametrize(
    "given",
    [
        (),
        ("model",),
        ("photos",),
        ("crops",),
        ("model", "embeddings"),
        ("photos", "embeddings"),
        ("model", "photos", "crops"),
    ],
    ids="+".join,
)
def test_wrong_combinations(tmp_path: Path, pairs: Path, given: tuple[str]) -> None:
    paths = {name: tmp_path / name for name in given}
    with pytest.raises(ParameterError, match="give a model with photos") as caught:
        run(tmp_path / "out", pairs, **paths)
    assert str(caught.value).endswith("got " + (" and ".join(given) or "none of them"))


def test_a_model_file_is_checked_before_photos_are_aligned(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_crops, "align", lambda *_, **__: pytest.fail("aligned"))
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"no model")
    with pytest.raises(FileError):
        run(tmp_path / "out", pairs, model=model, photos=tmp_path)


def test_photos_of_other_people(
    tmp_path: Path, pairs: Path, make_model: Callable[..., Path]
) -> None:
    model = make_model(tmp_path / "model.safetensors")
    photos = tmp_path / "photos"
    photos.mkdir()
    assert cv2.imwrite(str(photos / "x.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"such as Ann_Lee/Ann_Lee_0001\.jpg"):
        run(tmp_path / "out", pairs, model=model, photos=photos)


@pytest.mark.parametrize(
    "options",
    [{"pca_components": 0}, {"pca_components": 7}, {"pca": False, "pca_components": 2}],
    ids=str,
)
def test_wrong_components(
    tmp_path: Path, pairs: Path, embeddings: Path, options: dict[str, int]
) -> None:
    with pytest.raises(ParameterError, match=r"components"):
        run(tmp_path / "out", pairs, embeddings=embeddings, **options)


def test_nothing_is_written_when_the_input_is_wrong(
    tmp_path: Path, pairs: Path, embeddings: Path
) -> None:
    out = tmp_path / "out"
    nan = tmp_path / "nan.npz"
    np.savez(nan, embeddings=np.full((12, 6), np.nan), images=np.array(names()))
    other = tmp_path / "other.npz"
    np.savez(other, embeddings=np.ones((1, 6)), images=np.array(["x.jpg"]))
    for options in (
        {"embeddings": nan},
        {"embeddings": other},
        {"embeddings": tmp_path / "none.npz"},
        {"embeddings": embeddings, "crops": tmp_path / "none"},
        {"embeddings": embeddings, "pca_components": 7},
        {"embeddings": embeddings, "pairs": tmp_path / "none.txt"},
    ):
        with pytest.raises(FaceverError) as caught:
            run(**{"out": out, "pairs": pairs, **options})
        assert "\n" not in str(caught.value)
        assert not out.exists()


def test_command(
    tmp_path: Path, pairs: Path, embeddings: Path, command: Callable[..., object]
) -> None:
    out = tmp_path / "out"
    arguments = ("evaluate", "lfw", "--pairs", pairs, "--out", out, "--embeddings")
    good = command(*arguments, embeddings)
    assert good.code == 0
    assert good.out.splitlines()[-1] == f"report: {out / 'report.html'}"
    shown = json.loads(command(*arguments, embeddings, "--json").out)
    [first, _] = json.loads((out / "report.json").read_text())["models"]
    assert shown["models"][0]["accuracy"] == first["accuracy"]
    shutil.rmtree(out)
    bad = command(*arguments, tmp_path / "none.npz")
    assert bad.code == 2
    assert len(bad.err.splitlines()) == 1
    assert not out.exists()


@pytest.mark.realdata
def test_real_photos(
    data_folder: Path, tmp_path: Path, pairs: Path, make_model: Callable[..., Path]
) -> None:
    """Photos are found, aligned and embedded; a second run aligns nothing again."""
    people = (
        "Abel_Pacheco",
        "Akhmed_Zakayev",
        "Amber_Tamblyn",
        "Anders_Fogh_Rasmussen",
    )
    text = pairs.read_text()
    for stand_in, person in zip(PEOPLE, people, strict=True):
        text = text.replace(stand_in, person)
    # Of Amber Tamblyn there are two photos only: the third is missing.
    pairs.write_text(text)
    model = make_model(tmp_path / "model.safetensors")
    photos = tmp_path / "photos"
    for person in people:
        shutil.copytree(data_folder / "lfw-deepfunneled" / person, photos / person)
    inputs = {"model": model, "photos": photos, "pca": False}
    first = run(tmp_path / "out", pairs, **inputs).evaluations["cosine"]
    assert first.missing == ["Amber_Tamblyn/Amber_Tamblyn_0003.jpg"]
    written = (tmp_path / "out" / "crops" / "crops.npy").stat().st_mtime_ns
    again = run(tmp_path / "out", pairs, **inputs).evaluations["cosine"]
    assert (tmp_path / "out" / "crops" / "crops.npy").stat().st_mtime_ns == written
    np.testing.assert_array_equal(first.scores, again.scores)


def test_a_folder_of_somebodys_files_is_refused_and_reports_replace_reports(
    tmp_path: Path, pairs: Path
) -> None:
    inputs = Inputs(embeddings=tmp_path / "none.npz")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "scores.csv").write_text("mine")
    with pytest.raises(FileError, match=r"own holds scores\.csv and no report"):
        evaluate_lfw(tmp_path / "own", pairs, inputs)
    assert (tmp_path / "own" / "scores.csv").read_text() == "mine"
    with pytest.raises(FileError, match=r"cannot write /proc/out"):
        evaluate_lfw("/proc/out", pairs, inputs)
    # An earlier report, crops of a killed run, and a new folder get to the inputs.
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text("{}")
    (tmp_path / "report" / "scores.csv").write_text("ours")
    (tmp_path / "killed" / "crops").mkdir(parents=True)
    for name in ("report", "killed", "new"):
        with pytest.raises(FileError, match=r"no embeddings file at .*none\.npz"):
            evaluate_lfw(tmp_path / name, pairs, inputs)
