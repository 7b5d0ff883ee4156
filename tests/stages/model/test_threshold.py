import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from facever.data.store.crop_store import CropStore
from facever.errors import DataError, FaceverError, ModelFileError, ParameterError
from facever.inference.embedder import Embedder, load
from facever.inference.formats.safetensors_file import save_model
from facever.inference.header import ModelHeader
from facever.inference.model_file import load_model
from facever.models import build_network
from facever.stages.gallery import enroll as gallery
from facever.stages.model.info import model_info
from facever.stages.model.threshold import set_model_threshold

Command = Callable[..., Any]
FAR = 0.1
ON_CPU = {"device": "cpu", "precision": "fp32"}


@pytest.fixture
def model(tmp_path: Path, make_model: Callable[..., Path]) -> Path:
    return make_model(
        tmp_path / "model.safetensors",
        mirror="concat",
        training_data="drawn",
        licence="none",
    )


@pytest.fixture
def crops(tmp_path: Path, make_store: Callable[..., Path]) -> Path:
    """Four people, 11 crops: 55 pairs, 12 of them genuine."""
    return make_store(tmp_path / "crops", (4, 3, 3, 1))


def cosines(model: Path, crops: Path) -> dict[bool, list[float]]:
    """Of the genuine and of the impostor pairs, one after the other."""
    store = CropStore.open(crops)
    vectors = load(model, "cpu", "fp32").embed_crops(np.load(crops / "crops.npy"))
    found: dict[bool, list[float]] = {True: [], False: []}
    for i, j in combinations(range(len(store)), 2):
        a, b = vectors[i].astype(float), vectors[j].astype(float)
        cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        found[store.sources[i][:2] == store.sources[j][:2]].append(cosine)
    return found


def test_the_threshold_is_written_into_the_model_file(model: Path, crops: Path) -> None:
    before, weights = load_model(model), load_file(model)
    report = set_model_threshold(model, crops, far=FAR, **ON_CPU)
    found = report.found
    after = load_model(model)
    assert after.header.threshold == found.threshold
    assert after.header.threshold_far == FAR
    assert after.fingerprint == before.fingerprint
    for name in ("mirror", "training_data", "licence", "network_options", "mean"):
        assert getattr(after.header, name) == getattr(before.header, name)
    kept = load_file(model)
    assert list(kept) == list(weights)
    for name, weight in weights.items():
        assert torch.equal(kept[name], weight)
    pairs = cosines(model, crops)
    assert (found.num_genuine, found.num_impostor) == (12, 43)
    assert (len(pairs[True]), len(pairs[False])) == (12, 43)
    # Four of 43 impostor pairs may be accepted, a fifth is too many.
    impostor = sorted(pairs[False], reverse=True)
    assert impostor[4] - 1e-5 <= found.threshold < impostor[3] + 1e-5
    tar = np.mean([cosine > found.threshold for cosine in pairs[True]])
    assert found.tar == pytest.approx(tar)
    line, set_on = report.lines()
    assert set_on.startswith("set on 4 people of crops, 43 pairs of strangers: ")
    assert line.startswith(f"{model}: same person above cosine {found.threshold:.4f}")
    assert f"for FAR 0.1, which accepts {tar:.2%} of 12 genuine pairs" in line


def test_several_rates_are_known_and_the_first_is_in_use(
    model: Path, crops: Path, command: Command
) -> None:
    single = {
        far: set_model_threshold(model, crops, far=far, **ON_CPU).found.threshold
        for far in (0.1, 0.3, 0.05)
    }
    report = set_model_threshold(model, crops, far=[0.1, 0.3, 0.05], **ON_CPU)
    header = load_model(model).header
    assert header.thresholds == [(far, single[far]) for far in (0.05, 0.1, 0.3)]
    assert (header.threshold, header.threshold_far) == (single[0.1], 0.1)
    assert [other.target_far for other in report.others] == [0.3, 0.05]
    assert f"  above {single[0.3]:.4f} for FAR 0.3, which accepts" in str(report)
    # One rate alone knows one threshold.
    many = ("--far", 0.3, "--far", 0.1, "--device", "cpu", "--json")
    shown = json.loads(command("model", "threshold", model, crops, *many).out)
    assert (shown["target_far"], shown["others"][0]["target_far"]) == (0.3, 0.1)
    set_model_threshold(model, crops, far=0.1, **ON_CPU)
    assert load_model(model).header.thresholds == [(0.1, single[0.1])]


def test_a_ready_model_is_not_changed(crops: Path) -> None:
    with pytest.raises(ModelFileError, match=r"facever model get sface sface\.onnx"):
        set_model_threshold("sface", crops, far=FAR, **ON_CPU)


def test_a_model_with_a_mean_image(
    tmp_path: Path, crops: Path, types_unchecked: None
) -> None:
    options = {"width": 1 / 16, "embedding_size": 16}
    header = ModelHeader("resnet27", options, 16, mean="image", threshold=0.5)
    image = torch.linspace(90, 160, 112 * 96 * 3).reshape(112, 96, 3)
    model = tmp_path / "model.safetensors"
    save_model(model, build_network("resnet27", options), header, image)
    before = load_model(model)
    report = set_model_threshold(model, crops, far=FAR, **ON_CPU)
    found = report.found
    after = load_model(model)
    assert after.header.threshold == found.threshold != 0.5
    assert after.header.mean == "image"
    assert torch.equal(after.network.preprocessing.mean, image)
    assert after.fingerprint == before.fingerprint


def test_a_gallery_still_takes_the_model(
    tmp_path: Path, model: Path, crops: Path, types_unchecked: None
) -> None:
    first = gallery.add(tmp_path / "gallery", model, crops)
    set_model_threshold(model, crops, far=FAR, **ON_CPU)
    again = gallery.add(tmp_path / "gallery", model, crops)
    assert (first.num_added, first.num_known) == (11, 0)
    assert (again.num_added, again.num_known) == (0, 11)


def test_command(model: Path, crops: Path, command: Command) -> None:
    finished = command(
        "model", "threshold", model, crops, "--far", FAR, "--device", "cpu"
    )
    assert finished.code == 0, finished.err
    assert load_model(model).header.threshold_far == FAR
    again = command(
        "model", "threshold", model, crops, "--far", FAR, "--device", "cpu", "--json"
    )
    shown = json.loads(again.out)
    assert (shown["model"], shown["target_far"]) == (str(model), FAR)
    assert shown["threshold"] == load_model(model).header.threshold
    # The rate that is asked for by default needs more pairs than these.
    content = model.read_bytes()
    refused = command("model", "threshold", model, crops)
    assert refused.code == 2
    assert refused.err.splitlines()[-1].startswith(
        f"facever: {crops}: FAR 0.001 needs at least 1,000 impostor pairs, there are "
        "43, in 11 "
    )
    assert model.read_bytes() == content


@pytest.mark.parametrize(
    ("far", "error", "says"),
    [
        (
            0.02,
            DataError,
            r"FAR 0\.02 needs at least 50 .* are 43, .*; give more",
        ),
        (0.0, ParameterError, "got 0"),
        (1.5, ParameterError, r"got 1\.5"),
        (-1.0, ParameterError, "got -1"),
    ],
)
def test_a_rate_that_cannot_be_had_leaves_the_file_as_it_was(
    model: Path,
    crops: Path,
    types_unchecked: None,
    monkeypatch: pytest.MonkeyPatch,
    far: float,
    error: type[FaceverError],
    says: str,
) -> None:
    def embed(*arguments: object, **options: object) -> None:
        raise AssertionError("the pairs are counted before a crop is embedded")

    monkeypatch.setattr(Embedder, "embed_crops", embed)
    content = model.read_bytes()
    with pytest.raises(error, match=says) as caught:
        set_model_threshold(model, crops, far=far, **ON_CPU)
    assert "\n" not in str(caught.value)
    assert model.read_bytes() == content


@pytest.mark.parametrize("people", [(5,), (1, 1, 1)], ids=["one person", "no pair"])
def test_crops_that_say_nothing_leave_the_file_as_it_was(
    tmp_path: Path,
    model: Path,
    make_store: Callable[..., Path],
    people: tuple[int, ...],
) -> None:
    crops = make_store(tmp_path / "crops", people)
    content = model.read_bytes()
    with pytest.raises(DataError, match=f"got {sum(people)} crops of {len(people)}"):
        set_model_threshold(model, crops, far=FAR, **ON_CPU)
    assert model.read_bytes() == content
    assert list(tmp_path.glob(".*")) == []


def test_a_write_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path,
    model: Path,
    crops: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = Path.write_bytes

    def fail(path: Path, content: bytes) -> None:
        write(path, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    content = model.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(FaceverError, match="No space left"):
        set_model_threshold(model, crops, far=FAR, **ON_CPU)
    assert model.read_bytes() == content
    assert list(tmp_path.glob(".*")) == []


def test_what_a_threshold_rests_on_is_in_the_file_and_in_answers(
    tmp_path: Path, model: Path, crops: Path, make_store: Callable[..., Path]
) -> None:
    check = make_store(tmp_path / "others", (3, 3, 2, 2), 7, letter="Q")
    report = set_model_threshold(model, crops, check=check, far=FAR, **ON_CPU)
    header = load_model(model).header
    assert header.threshold_set_on == report.set_on
    assert header.threshold_checked_on == report.checked_on
    assert report.checked_on is not None
    threshold = report.found.threshold
    for measured, store, num_people in (
        (report.set_on, crops, 4),
        (report.checked_on, check, 4),
    ):
        pairs = cosines(model, store)
        assert measured.crops == store.name
        assert measured.fingerprint == CropStore.open(store).fingerprint
        assert measured.num_people == num_people
        assert measured.num_photos == len(CropStore.open(store))
        assert measured.num_impostor == len(pairs[False])
        assert measured.num_genuine == len(pairs[True])
        fmr = np.mean([cosine > threshold for cosine in pairs[False]])
        fnmr = np.mean([cosine <= threshold for cosine in pairs[True]])
        assert measured.fmr == pytest.approx(fmr)
        assert measured.fnmr == pytest.approx(fnmr)
        assert measured.fmr_low <= measured.fmr <= measured.fmr_high
        assert measured.fnmr_low <= measured.fnmr <= measured.fnmr_high
    assert str(report.set_on) in str(model_info(model))
    assert f"checked on {report.checked_on}" in report.lines()
    photo = np.zeros((112, 96, 3), np.uint8)
    photo[20:90, 20:70] = 200
    embedder = load(model, "cpu", "fp32", detector="crops")
    own = embedder.verify(photo, photo)
    assert own.lines()[1:] == [
        f"the threshold was set on {report.set_on}",
        f"checked on {report.checked_on}",
    ]
    given = embedder.verify(photo, photo, threshold=0.123)
    assert len(given.lines()) == 1
    # A threshold that is set again without a check has none.
    set_model_threshold(model, crops, far=FAR, **ON_CPU)
    assert load_model(model).header.threshold_checked_on is None


def test_a_rate_that_does_not_hold_for_others_is_said(
    tmp_path: Path, model: Path, crops: Path, make_store: Callable[..., Path]
) -> None:
    check = make_store(tmp_path / "others", (3, 3, 2, 2), 7, letter="Q")
    report = set_model_threshold(model, crops, check=check, far=FAR, **ON_CPU)
    assert report.checked_on is not None
    for low, holds in ((FAR, True), (FAR + 1e-9, False)):
        checked = replace(report.checked_on, fmr_low=low)
        said = str(replace(report, checked_on=checked))
        assert ("does not hold for the people" in said) == (not holds)


def test_a_check_takes_other_people(
    model: Path, crops: Path, make_store: Callable[..., Path], tmp_path: Path
) -> None:
    same = make_store(tmp_path / "same", (2, 2))
    before = model.read_bytes()
    with pytest.raises(DataError, match=r"2 people are in .*, such as P0"):
        set_model_threshold(model, crops, check=same, far=FAR, **ON_CPU)
    assert model.read_bytes() == before


def test_too_few_pairs_are_told_with_their_store_before_a_crop_is_embedded(
    model: Path,
    crops: Path,
    make_store: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def embed(*arguments: object, **options: object) -> None:
        raise AssertionError("the pairs are counted before a crop is embedded")

    monkeypatch.setattr(Embedder, "embed_crops", embed)
    # The second rate needs more pairs than there are.
    with pytest.raises(DataError, match=rf"{crops}: FAR 0\.02 needs at least 50"):
        set_model_threshold(model, crops, far=[FAR, 0.02], **ON_CPU)
    alone = make_store(tmp_path / "alone", (1, 1), letter="Q")
    with pytest.raises(DataError, match=rf"{alone}: a threshold needs .* 2 crops of 2"):
        set_model_threshold(model, crops, check=alone, far=FAR, **ON_CPU)
