import hashlib
import json
import math
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import facever
from facever.config.reading import load_config
from facever.config.training import TrainConfig
from facever.data.batches.sampling import split_identities
from facever.data.store.crop_store import CropStore
from facever.errors import (
    ConfigError,
    DataError,
    FaceverError,
    FileError,
    ModelFileError,
    ParameterError,
)
from facever.files import hold_folder
from facever.inference.model_file import load_model
from facever.stages.model.info import model_info
from facever.stages.model.threshold import set_model_threshold
from facever.stages.store.changes import subset_store
from facever.stages.training import run_folder
from facever.stages.training import train as train_stage
from facever.stages.training.run_folder import run_fingerprint
from facever.stages.training.train import TrainResult, train

FILES = [
    "README.md",
    "checkpoint.pt",
    "config.yaml",
    "log.jsonl",
    "model.safetensors",
    "starts.jsonl",
]


def content_of(store: Path, out: Path, **changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "data": {"crops": str(store), "name": "drawn patterns", "licence": "CC0"},
        "network": {"name": "resnet27", "width": 1 / 16, "embedding_size": 16},
        "augmentation": {"mirror": True, "shift": 2, "brightness": 0.1},
        "optimiser": {"learning_rate": 0.005},
        "schedule": {"steps": 10, "shape": "cosine", "warmup": 2},
        "batch_size": 6,
        "precision": "fp32",
        "device": "cpu",
        "seed": 3,
        "log_every": 2,
        "checkpoint_every": 4,
        "out": str(out),
    }
    for key, value in changes.items():
        content[key] = content[key] | value if isinstance(value, dict) else value
    return content


def make_config(store: Path, out: Path, **changes: Any) -> TrainConfig:
    return TrainConfig.model_validate(content_of(store, out, **changes))


def _die(*arguments: Any) -> None:
    raise KeyboardInterrupt


def state_of(folder: Path) -> dict[str, tuple[int, str]]:
    """Time and content of every file, to see that nothing was touched."""
    return {
        path.name: (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in folder.iterdir()
    }


def read_log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, make_store: Callable[..., Path]
) -> Path:
    return make_store(tmp_path_factory.mktemp("train") / "crops", (4, 3, 5))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
    """The folder of a run that nothing disturbed; tests only read it."""
    out = tmp_path_factory.mktemp("trained") / "run"
    assert train(make_config(store, out)).model == out / "model.safetensors"
    return out


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A copy of that folder that a test may change."""
    out = tmp_path / "run"
    out.mkdir()
    for path in trained.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return out


class TestWhatARunLeaves:
    def test_these_files_and_no_others(self, trained: Path) -> None:
        assert sorted(path.name for path in trained.iterdir()) == FILES

    def test_the_config_as_it_was_used(self, trained: Path, store: Path) -> None:
        written = load_config(TrainConfig, trained / "config.yaml")
        assert written == make_config(store, trained)
        # Defaults are spelled out: they may change in a later version.
        assert yaml.safe_load((trained / "config.yaml").read_text())["mirror"] == "sum"

    def test_a_card_that_says_what_it_is(self, trained: Path) -> None:
        card = (trained / "README.md").read_text()
        for said in (
            "# resnet27 trained on drawn patterns",
            "16 dimensions, 98,250 weights",
            "12 crops of 3 people",
            "Licence of the data: CC0.",
            "Nobody was held out",
            "10 steps of 6 crops.\nIn training the network computed with fp32.",
            f"facever {facever.__version__}",
        ):
            assert said in card
        block = card.split("```yaml\n")[1].split("```")[0]
        written = yaml.safe_load((trained / "config.yaml").read_text())
        for name, value in yaml.safe_load(block).items():
            assert value == written[name]
        assert str(trained) not in card

    def test_what_it_was_started_with(self, trained: Path) -> None:
        (line,) = map(json.loads, (trained / "starts.jsonl").open())
        assert (line["step"], line["processes"]) == (0, 1)
        assert line["precision"] == "fp32"
        assert torch.__version__.startswith(line["versions"]["torch"])
        assert line["commit"] is None or len(line["commit"].split("+")[0]) == 40
        assert line["machine"]["num_cpus"] >= 1

    def test_one_line_a_step_group(self, trained: Path) -> None:
        lines = read_log(trained)
        assert [line["step"] for line in lines] == [2, 4, 6, 8, 10]
        for line in lines:
            assert set(line) >= {"step", "learning_rate", "loss", "accuracy", "softmax"}
            assert math.isfinite(line["loss"])
            assert 0 <= line["accuracy"] <= 1
            assert line["crops_per_second"] > 0
        # Step 10 is number 9 from 0: 7 of 8 steps down half a cosine from 0.005.
        expected = 0.005 * (1 + math.cos(math.pi * 7 / 8)) / 2
        assert lines[-1]["learning_rate"] == pytest.approx(expected)

    def test_a_model_file_that_says_where_it_comes_from(self, trained: Path) -> None:
        header = load_model(trained / "model.safetensors").header
        assert header.network == "resnet27"
        assert header.network_options == {"width": 1 / 16, "embedding_size": 16}
        assert header.embedding_size == 16
        assert (header.mean, header.scale, header.mirror) == (127.5, 128.0, "sum")
        assert header.training_data == "drawn patterns"
        assert header.licence == "CC0"
        assert header.facever_version == facever.__version__
        assert header.threshold is None
        assert header.threshold_far is None

    def test_the_weights_of_the_last_step(self, trained: Path) -> None:
        checkpoint = torch.load(trained / "checkpoint.pt", weights_only=True)
        assert checkpoint["step"] == 10
        weights = load_model(trained / "model.safetensors").network.module.state_dict()
        assert weights.keys() == checkpoint["network"].keys()
        for name, value in checkpoint["network"].items():
            assert torch.equal(weights[name], value), name

    def test_a_network_that_learned_something(self, trained: Path) -> None:
        lines = read_log(trained)
        assert lines[-1]["loss"] < lines[0]["loss"]

    def test_a_model_that_embeds(self, trained: Path, store: Path) -> None:
        embedder = facever.load(trained / "model.safetensors", device="cpu")
        found = embedder.embed_crops(CropStore.open(store).crops)
        assert np.isfinite(found).all()

    def test_head_and_mirror_rule_of_the_config(
        self, tmp_path: Path, store: Path
    ) -> None:
        heads = [{"name": "softmax"}, {"name": "center", "weight": 0.01}]
        config = make_config(
            store, tmp_path / "run", heads=heads, mirror="concat", schedule={"steps": 3}
        )
        model = load_model(train(config).model)
        assert model.header.mirror == "concat"
        assert model.feature_size == 32
        lines = read_log(tmp_path / "run")
        assert [line["step"] for line in lines] == [2, 3]
        for line in lines:
            expected = line["softmax"] + 0.01 * line["center"]
            assert line["loss"] == pytest.approx(expected, abs=1e-5)


class TestRunningAgain:
    def test_does_nothing_when_all_is_done(
        self, trained: Path, store: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = state_of(trained)
        model = trained / "model.safetensors"
        result = train(make_config(store, trained))
        assert result == TrainResult(model, steps=10, num_new_steps=0)
        assert str(result) == f"model: {model}, trained already"
        assert state_of(trained) == before
        assert capsys.readouterr().out == ""

    def test_what_does_not_decide_the_result_may_change(
        self, trained: Path, store: Path
    ) -> None:
        before = state_of(trained)
        options: dict[str, Any] = {"log_every": 5, "checkpoint_every": 2}
        options["data"] = {"workers": 2, "resident": False}
        train(make_config(store, trained, **options))
        assert state_of(trained) == before

    @pytest.mark.parametrize(
        "changes",
        [
            {"seed": 4},
            {"optimiser": {"learning_rate": 0.01}},
            {"schedule": {"steps": 9}},
            {"mirror": "none"},
            {"mean": "image"},
            {"augmentation": {"blur": 0.5}},
            {"network": {"normalised_embedding": True}},
            {"heads": [{"name": "arcface"}]},
            {"data": {"photos_per_identity": 2}},
        ],
        ids=str,
    )
    def test_another_config_is_refused(
        self, trained: Path, store: Path, changes: dict[str, Any]
    ) -> None:
        before = state_of(trained)
        with pytest.raises(ConfigError) as refusal:
            train(make_config(store, trained, **changes))
        [[key, value]] = changes.items()
        inside = next(iter(value)) if isinstance(value, dict) else ""
        assert f"holds a run with {key}" in str(refusal.value)
        assert inside in str(refusal.value)
        assert "out=" in str(refusal.value)
        assert state_of(trained) == before
        # Without the old config the checkpoint itself tells.
        kept = (trained / "config.yaml").read_bytes()
        (trained / "config.yaml").unlink()
        with pytest.raises(ModelFileError, match="another config or other crops"):
            train(make_config(store, trained, **changes))
        (trained / "config.yaml").write_bytes(kept)

    @pytest.mark.parametrize("killed", [None, "write_config", "record_start"])
    def test_a_finished_run_may_be_lengthened(
        self,
        store: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        killed: str | None,
    ) -> None:
        # At a constant rate two parts are the whole, bit for bit.
        constant = {"shape": "drops", "drops": [], "warmup": 0}
        short = make_config(store, tmp_path / "run", schedule=constant | {"steps": 5})
        longer = make_config(store, tmp_path / "run", schedule=constant | {"steps": 9})
        whole = make_config(store, tmp_path / "all", schedule=constant | {"steps": 9})
        train(short)
        if killed:
            # After the checkpoint was marked: before and after the config is written.
            with monkeypatch.context() as patched:
                patched.setattr(train_stage, killed, _die)
                with pytest.raises(KeyboardInterrupt):
                    train(longer)
        result = train(longer)
        assert (result.steps, result.num_new_steps) == (9, 4)
        assert "a finished run gets 4 more steps" in capsys.readouterr().err
        weights, right = (
            load_model(path).network.module.state_dict()
            for path in (result.model, train(whole).model)
        )
        for name, weight in weights.items():
            assert torch.equal(weight, right[name]), name
        assert [line["step"] for line in read_log(tmp_path / "run")][-1] == 9
        assert train(longer).num_new_steps == 0
        with pytest.raises(ConfigError, match=r"schedule\.steps=9 and not 5"):
            train(short)

    def test_an_unfinished_run_is_not_lengthened(
        self, copied: Path, store: Path
    ) -> None:
        (copied / "model.safetensors").unlink()
        with pytest.raises(ConfigError, match=r"schedule\.steps=10 and not 12"):
            train(make_config(store, copied, schedule={"steps": 12}))

    def test_labels_of_the_data_may_change(self, trained: Path, store: Path) -> None:
        before = state_of(trained)
        train(make_config(store, trained, data={"name": "other", "licence": "CC0"}))
        assert state_of(trained) == before

    def test_another_process_in_the_folder_is_refused(
        self, trained: Path, store: Path
    ) -> None:
        with hold_folder(trained):
            with pytest.raises(FileError, match="another process is writing to"):
                train(make_config(store, trained))
        train(make_config(store, trained))

    def test_other_crops_are_refused(
        self, trained: Path, tmp_path: Path, make_store: Callable[..., Path]
    ) -> None:
        before = state_of(trained)
        other = make_store(tmp_path / "crops", (4, 4, 5))
        with pytest.raises(ModelFileError, match="other crops"):
            train(make_config(other, trained))
        assert state_of(trained) == before

    def test_a_store_that_was_moved_is_the_same(
        self, trained: Path, store: Path, tmp_path: Path
    ) -> None:
        before = state_of(trained)
        (tmp_path / "moved").symlink_to(store)
        train(make_config(tmp_path / "moved", trained))
        assert state_of(trained) == before

    def test_a_lost_model_file_is_written_again(
        self, copied: Path, trained: Path, store: Path
    ) -> None:
        (copied / "model.safetensors").unlink()
        train(make_config(store, copied))
        for name in ("model.safetensors", "log.jsonl"):
            assert (copied / name).read_bytes() == (trained / name).read_bytes()

    def test_the_same_config_gives_the_same_bytes_elsewhere(
        self, trained: Path, store: Path, tmp_path: Path
    ) -> None:
        model = train(make_config(store, tmp_path / "run")).model
        assert model.read_bytes() == (trained / "model.safetensors").read_bytes()

    def test_another_seed_gives_another_model(
        self, trained: Path, store: Path, tmp_path: Path
    ) -> None:
        model = train(make_config(store, tmp_path / "run", seed=4)).model
        assert model.read_bytes() != (trained / "model.safetensors").read_bytes()


KILLED = """
import os, signal, sys
from pathlib import Path

import torch

from facever.config.reading import load_config
from facever.config.training import TrainConfig
from facever.stages.training.train import train

torch.set_num_threads(int(sys.argv[2]))
replace = os.replace

def replace_or_die(path, target):
    if Path(target).name == "checkpoint.pt" and replace_or_die.saved == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    replace_or_die.saved += Path(target).name == "checkpoint.pt"
    return replace(path, target)

replace_or_die.saved = 0
os.replace = replace_or_die
train(load_config(TrainConfig, Path(sys.argv[1])))
"""


@pytest.mark.parametrize(("has_units", "taken"), [(True, "bf16"), (False, "fp32")])
def test_the_precision_that_auto_took_is_told(
    tmp_path: Path,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    has_units: bool,
    taken: str,
) -> None:
    monkeypatch.setattr("facever.hardware.has_bf16_units", lambda device: has_units)
    out = tmp_path / "run"
    schedule = {"steps": 1, "drops": [], "warmup": 0}
    train(make_config(store, out, precision="auto", schedule=schedule))
    assert f"1 steps of 6 on cpu with {taken}\n" in capsys.readouterr().err
    assert json.loads((out / "starts.jsonl").read_text())["precision"] == taken
    assert f"computed with {taken}." in (out / "README.md").read_text()


def test_the_card_names_the_precisions_of_all_starts(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    for steps, has_units in ((1, False), (2, True), (3, False)):
        monkeypatch.setattr(
            "facever.hardware.has_bf16_units", lambda _, it=has_units: it
        )
        schedule = {"steps": steps, "shape": "drops", "drops": [], "warmup": 0}
        train(make_config(store, out, precision="auto", schedule=schedule))
    said = "In training the network computed with fp32 and bf16.\n"
    assert f"3 steps of 6 crops.\n{said}" in (out / "README.md").read_text()


def test_runs_from_before_mixing_keep_their_fingerprint(
    tmp_path: Path, store: Path
) -> None:
    crops = CropStore.open(store)
    config = make_config(store, tmp_path / "run")
    asked = {"mixup": 0.1, "cutmix": 0.2}
    mixed = make_config(store, tmp_path / "run", augmentation=asked)
    hashed: list[dict[str, Any]] = []

    def dumped(content: Any, **options: Any) -> str:
        hashed.append(content)
        return json.dumps(content, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run_folder, "json", SimpleNamespace(dumps=dumped))
        found = [run_fingerprint(each, crops) for each in (config, mixed)]
    assert found[0] != found[1]
    earlier, later = (each["augmentation"] for each in hashed)
    assert later == {**earlier, **asked}
    assert not asked.keys() & earlier.keys()


def test_a_run_that_is_to_mix_says_what_it_did_before(
    tmp_path: Path, store: Path
) -> None:
    out = tmp_path / "run"
    train(make_config(store, out))
    with pytest.raises(ConfigError, match=r"augmentation\.mixup=0\.0 and not 0\.5"):
        train(make_config(store, out, augmentation={"mixup": 0.5}))


def test_a_killed_run_goes_on_and_gives_the_same_model(
    tmp_path: Path, store: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """kill -9 while the second checkpoint, of step 8, is being written."""
    out = tmp_path / "run"
    config = tmp_path / "train.yaml"
    # The header keeps the order of the network's options: keep it here as well.
    config.write_text(yaml.safe_dump(content_of(store, out), sort_keys=False))
    threads = str(torch.get_num_threads())
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(config), threads],
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not (out / "model.safetensors").exists()
    assert torch.load(out / "checkpoint.pt", weights_only=True)["step"] == 4
    # Logged further than saved: these lines come again.
    assert [line["step"] for line in read_log(out)] == [2, 4, 6, 8]
    with (out / "log.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')

    result = train(load_config(TrainConfig, config))

    printed = capsys.readouterr()
    assert "going on from step 4 of 10" in printed.err
    assert printed.out == ""
    assert (result.steps, result.num_new_steps) == (10, 6)
    model, expected = (folder / "model.safetensors" for folder in (out, trained))
    assert model.read_bytes() == expected.read_bytes()
    timeless = [
        [
            {key: value for key, value in line.items() if "second" not in key}
            for line in read_log(folder)
        ]
        for folder in (out, trained)
    ]
    assert timeless[0] == timeless[1]
    starts = [json.loads(line) for line in (out / "starts.jsonl").open()]
    assert [line["step"] for line in starts] == [0, 4]
    assert sorted(path.name for path in out.iterdir()) == FILES


@pytest.mark.parametrize("stopped_at", ["first batch", "model file"])
def test_a_stop_at_either_end_is_made_good(
    tmp_path: Path,
    store: Path,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    stopped_at: str,
) -> None:
    from facever.stages.training import train as stage

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    name = {"first batch": "fit", "model file": "save_model"}[stopped_at]
    config = make_config(store, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(stage, name, stop)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    model = train(config).model
    assert model.read_bytes() == (trained / "model.safetensors").read_bytes()
    steps = [line["step"] for line in read_log(tmp_path / "run")]
    assert steps == [2, 4, 6, 8, 10]


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "run"))


class TestBadCheckpoints:
    def refused(self, out: Path, store: Path) -> str:
        before = state_of(out)
        with pytest.raises(ModelFileError) as refusal:
            train(make_config(store, out))
        message = str(refusal.value)
        assert "checkpoint.pt" in message
        assert "\n" not in message
        assert state_of(out) == before
        return message

    @pytest.mark.parametrize(
        "content",
        [b"", b"hello\n", b"PK\x03\x04", b"\x80\x04.", b"\x00" * 99, b"\xff" * 99],
    )
    def test_foreign(self, copied: Path, store: Path, content: bytes) -> None:
        (copied / "checkpoint.pt").write_bytes(content)
        assert "delete" in self.refused(copied, store)

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
    def test_truncated(self, copied: Path, store: Path, share: float) -> None:
        path = copied / "checkpoint.pt"
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        assert "delete" in self.refused(copied, store)

    @pytest.mark.parametrize("missing", ["network", "step", "optimiser", "head"])
    def test_incomplete(self, copied: Path, store: Path, missing: str) -> None:
        path = copied / "checkpoint.pt"
        content = torch.load(path, weights_only=True)
        del content[missing]
        torch.save(content, path)
        self.refused(copied, store)

    def test_of_another_network(self, copied: Path, store: Path) -> None:
        path = copied / "checkpoint.pt"
        content = torch.load(path, weights_only=True)
        content["network"].popitem()
        torch.save(content, path)
        self.refused(copied, store)

    def test_just_weights(self, copied: Path, store: Path) -> None:
        weights = load_file(copied / "model.safetensors")
        torch.save(weights, copied / "checkpoint.pt")
        self.refused(copied, store)

    def test_a_pickle_is_never_run(self, copied: Path, store: Path) -> None:
        path, mark = copied / "checkpoint.pt", copied.parent / "mark"
        path.write_bytes(pickle.dumps(_Trap(mark)))
        self.refused(copied, store)
        torch.save({"format": 1, "network": _Trap(mark)}, path)
        self.refused(copied, store)
        assert not mark.exists()
        torch.load(path, weights_only=False)
        assert mark.exists()


class TestRefusedBeforeTheFirstStep:
    """Nothing is written for a run that cannot be."""

    def refused(
        self, kind: type[FaceverError], store: Path, out: Path, **changes: Any
    ) -> str:
        with pytest.raises(kind) as refusal:
            train(make_config(store, out, **changes))
        assert not out.is_dir()
        assert "\n" not in str(refusal.value)
        return str(refusal.value)

    def test_a_wrong_class_count(self, store: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        message = self.refused(DataError, store, out, data={"num_classes": 4})
        assert "num_classes is 4" in message
        assert str(store) in message
        assert "3 identities" in message

    def test_the_right_class_count_leaves_the_held_out_away(
        self, tmp_path: Path, make_store: Callable[..., Path]
    ) -> None:
        store = make_store(tmp_path / "crops", (4, 4, 4, 4))
        data = {"num_classes": 4, "validation_identities": 2}
        message = self.refused(DataError, store, tmp_path / "run", data=data)
        assert "2 identities" in message
        data["num_classes"] = 2
        train(make_config(store, tmp_path / "run", data=data, schedule={"steps": 3}))

    def test_one_identity(
        self, tmp_path: Path, make_store: Callable[..., Path]
    ) -> None:
        store = make_store(tmp_path / "crops", (9,))
        message = self.refused(DataError, store, tmp_path / "run")
        assert "at least 2 identities" in message

    def test_all_identities_held_out(self, store: Path, tmp_path: Path) -> None:
        data = {"validation_identities": 2}
        message = self.refused(DataError, store, tmp_path / "run", data=data)
        assert "at least 2 identities" in message

    @pytest.mark.parametrize(
        ("num_crops", "held_out"), [((6, 6, 6), 1), ((1, 1, 1, 1, 1), 3)], ids=str
    )
    def test_held_out_crops_that_make_no_threshold(
        self,
        tmp_path: Path,
        make_store: Callable[..., Path],
        num_crops: tuple[int, ...],
        held_out: int,
    ) -> None:
        store = make_store(tmp_path / "crops", num_crops)
        message = self.refused(
            ConfigError,
            store,
            tmp_path / "run",
            data={"validation_identities": held_out},
            batch_size=2,
        )
        assert "held-out" in message
        assert "by data.validation_identities=0" in message
        assert "at least 2 identities" in message

    def test_more_crops_a_step_than_there_are(
        self, store: Path, tmp_path: Path
    ) -> None:
        message = self.refused(ParameterError, store, tmp_path / "run", batch_size=13)
        assert "[1, 12]" in message
        assert "got 13" in message

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"validate_every": 5}, "validate_every=5 .* nobody is held out"),
            (
                {"validate_every": 5, "schedule": {"shape": "plateau"}},
                "validate_every=5 .* nobody is held out",
            ),
            (
                {"schedule": {"shape": "plateau"}},
                "shape=plateau goes by .* set validate_every",
            ),
            (
                {"heads": [{"name": "softmax"}, {"name": "triplet"}]},
                r"head triplet compares .* set data\.photos_per_identity",
            ),
            (
                {"heads": [{"name": "contrastive"}]},
                r"head contrastive compares .* set data\.photos_per_identity",
            ),
            (
                {
                    "heads": [{"name": "triplet"}],
                    "data": {"photos_per_identity": 4},
                    "batch_size": 4,
                },
                r"head triplet compares people .* at most 2, half of .* got 4",
            ),
            (
                {
                    "heads": [{"name": "softmax"}, {"name": "ie"}],
                    "augmentation": {"cutmix": 0.5},
                },
                r"head ie cannot take .*\.mixup and augmentation\.cutmix .* softmax",
            ),
            (
                {"heads": [{"name": "lsoftmax"}], "augmentation": {"mixup": 0.5}},
                "head lsoftmax cannot take",
            ),
            (
                {"data": {"photos_per_identity": 2}, "augmentation": {"mixup": 0.5}},
                r"mix neighbours .* data\.photos_per_identity .* leave it out",
            ),
        ],
        ids=str,
    )
    def test_what_a_run_goes_by_is_missing(
        self, store: Path, tmp_path: Path, changes: dict[str, Any], said: str
    ) -> None:
        message = self.refused(ConfigError, store, tmp_path / "run", **changes)
        assert re.search(said, message)

    def test_too_few_pairs_for_the_measure_of_a_plateau(
        self, tmp_path: Path, make_store: Callable[..., Path]
    ) -> None:
        store = make_store(tmp_path / "crops", (4, 4, 4, 4))
        message = self.refused(
            DataError,
            store,
            tmp_path / "run",
            data={"validation_identities": 2},
            schedule={"shape": "plateau", "plateau": {"measure": "tar"}},
            validate_every=2,
        )
        assert "1,000 impostor pairs" in message

    def test_tensorboard_without_the_extra(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        message = self.refused(
            ParameterError, store, tmp_path / "run", tensorboard=True
        )
        assert "facever[tensorboard]" in message

    def test_no_store(self, tmp_path: Path) -> None:
        message = self.refused(FileError, tmp_path / "nothing", tmp_path / "run")
        assert str(tmp_path / "nothing") in message

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"network": {"name": "resnet9000"}}, "known are"),
            ({"network": {"depth": 5}}, "unknown key depth; valid keys: width"),
            ({"network": {"width": "wide"}}, "width"),
            ({"heads": [{"name": "hardmax"}]}, "known are"),
            ({"heads": [{"name": "softmax", "margin": 1}]}, "unknown key margin"),
        ],
        ids=str,
    )
    def test_unknown_names(
        self, store: Path, tmp_path: Path, changes: dict[str, Any], said: str
    ) -> None:
        message = self.refused(ConfigError, store, tmp_path / "run", **changes)
        assert said in message

    def test_a_device_that_is_not_there(self, store: Path, tmp_path: Path) -> None:
        message = self.refused(
            ParameterError, store, tmp_path / "run", device="cuda:99"
        )
        assert "'cuda:99'" in message

    @pytest.mark.parametrize("place", ["file", "file/run"])
    def test_a_folder_that_cannot_be_made(
        self, store: Path, tmp_path: Path, place: str
    ) -> None:
        (tmp_path / "file").write_text("in the way")
        message = self.refused(FileError, store, tmp_path / place)
        assert str(tmp_path / place) in message


def test_a_loss_that_is_no_number_stops_the_run_and_spoils_no_checkpoint(
    store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    config = make_config(
        store,
        out,
        optimiser={"learning_rate": 1e30},
        schedule={"shape": "drops", "drops": (), "warmup": 0},
        log_every=5,
        checkpoint_every=1,
    )
    with pytest.raises(FaceverError, match=r"optimiser\.learning_rate"):
        train(config)
    assert not (out / "model.safetensors").exists()
    if (out / "checkpoint.pt").exists():
        kept = torch.load(out / "checkpoint.pt", weights_only=True)
        for values in (kept["network"], kept["head"]):
            assert all(torch.isfinite(value).all() for value in values.values())


class TestValidation:
    """14 identities of 5 crops, 12 of them held out: 60 crops, 1,770 pairs."""

    HELD_OUT = 12

    def config(self, store: Path, out: Path) -> TrainConfig:
        data = {"validation_identities": self.HELD_OUT}
        return make_config(store, out, data=data, schedule={"steps": 4})

    @pytest.fixture(scope="class")
    def store(
        self, tmp_path_factory: pytest.TempPathFactory, make_store: Callable[..., Path]
    ) -> Path:
        return make_store(tmp_path_factory.mktemp("validation") / "crops", (5,) * 14)

    @pytest.fixture(scope="class")
    def model(self, tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
        result = train(self.config(store, tmp_path_factory.mktemp("validated") / "run"))
        found = result.held_out
        assert found is not None
        assert (found.num_genuine, found.num_impostor) == (120, 1650)
        assert str(result).splitlines() == [
            f"held out: AUC {found.auc:.4f} over 120 genuine and 1,650 impostor pairs",
            f"held out: TAR {found.tar:.2%} at FAR 0.001, threshold "
            f"{found.threshold:.4f}",
            f"set on {load_model(result.model).header.threshold_set_on}",
            f"model: {result.model}",
        ]
        assert result.to_dict()["held_out"]["threshold"] == found.threshold
        return result.model

    def test_sets_a_threshold_that_holds_the_rate(
        self, store: Path, model: Path
    ) -> None:
        header = load_model(model).header
        assert header.threshold_far == 1e-3
        card = (model.parent / "README.md").read_text()
        assert "60 crops of people who are not in training" in card
        assert f"threshold {header.threshold:.4f}" in card
        assert "120 genuine and 1,650 impostor pairs" in card
        crops = CropStore.open(store)
        held_out = split_identities(crops.labels, self.HELD_OUT, 3).held_out
        assert len(held_out) == 60
        embedder = facever.load(model, device="cpu", precision="fp32")
        embeddings = embedder.embed_crops(crops.crops[held_out]).astype(np.float64)
        labels = crops.labels[held_out]
        impostors = []
        for i in range(60):
            for j in range(i):
                if labels[i] != labels[j]:
                    lengths = np.linalg.norm(embeddings[[i, j]], axis=1)
                    impostors.append(embeddings[i] @ embeddings[j] / lengths.prod())
        # 60 * 59 / 2 pairs less 12 * 10 of one identity; 1 of 1,650 may be accepted.
        assert len(impostors) == 1650
        first, second = sorted(impostors)[:-3:-1]
        assert second - 1e-6 <= header.threshold <= first + 1e-6

    def test_the_model_file_says_what_the_threshold_rests_on(
        self, store: Path, model: Path, tmp_path: Path
    ) -> None:
        """The same as is written where the threshold is set on these crops alone."""
        loaded = load_model(model)
        set_on = loaded.header.threshold_set_on
        assert set_on is not None
        assert set_on.crops == "crops held out of training"
        assert set_on.fingerprint == CropStore.open(store).fingerprint
        assert (set_on.num_people, set_on.num_photos) == (self.HELD_OUT, 60)
        assert (set_on.num_impostor, set_on.num_genuine) == (1650, 120)
        assert set_on.fmr == 1 / 1650
        assert set_on.fmr_low < 1e-3 < set_on.fmr_high
        line = "12 people of crops held out of training, 1,650 pairs of strangers"
        for shown in (model_info(model), (model.parent / "README.md").read_text()):
            assert line in str(shown)
        crops = CropStore.open(store)
        held_out = split_identities(crops.labels, self.HELD_OUT, 3).held_out
        names = tmp_path / "people.txt"
        people = {crops.identity_of(row) for row in held_out.tolist()}
        names.write_text("".join(f"{name}\n" for name in sorted(people)))
        subset_store(store, tmp_path / "theirs", identities=names)
        again = tmp_path / "again.safetensors"
        shutil.copy(model, again)
        report = set_model_threshold(
            again, tmp_path / "theirs", far=1e-3, device="cpu", precision="fp32"
        )
        own = {"crops": set_on.crops, "fingerprint": set_on.fingerprint}
        assert report.found.threshold == pytest.approx(
            loaded.header.threshold, abs=1e-6
        )
        assert replace(report.set_on, **own) == set_on

    def test_a_run_that_looks_at_them_gives_the_same_model(
        self, store: Path, model: Path, tmp_path: Path
    ) -> None:
        looking = self.config(store, tmp_path / "run").model_copy(
            update={"validate_every": 1, "tensorboard": True}
        )
        assert train(looking).model.read_bytes() == model.read_bytes()
        lines = read_log(tmp_path / "run")
        looks = [line for line in lines if "held_out_auc" in line]
        assert [line["step"] for line in looks] == [1, 2, 3, 4]
        # The last look sees what the model file holds.
        card = (tmp_path / "run" / "README.md").read_text()
        assert f"AUC {looks[-1]['held_out_auc']:.4f}" in card
        assert f"{looks[-1]['held_out_tar']:.2%} of the genuine" in card
        assert list((tmp_path / "run" / "tensorboard").glob("events.*"))

    def test_a_plateau_lowers_the_rate_and_belongs_to_the_run(
        self, store: Path, tmp_path: Path
    ) -> None:
        content = self.config(store, tmp_path / "run").model_dump()
        content["schedule"] |= {
            "shape": "plateau",
            "warmup": 0,
            "steps": 8,
            "plateau": {"patience": 1, "factor": 0.5},
        }
        content |= {"validate_every": 1, "log_every": 1, "checkpoint_every": 3}
        config = TrainConfig.model_validate(content)
        train(config)
        lines = read_log(tmp_path / "run")
        rates = [line["learning_rate"] for line in lines if "loss" in line]
        looks = [line["held_out_auc"] for line in lines if "held_out_auc" in line]
        expected, rate, best = [], 0.005, -1.0
        for value in looks:
            expected.append(rate)
            rate, best = (rate, value) if value > best else (rate / 2, best)
        assert rates == pytest.approx(expected)
        other = config.model_copy(update={"validate_every": 2})
        with pytest.raises(ConfigError, match="validate_every=1 and not 2;"):
            train(other)

    def test_never_trains_on_what_is_held_out(
        self, store: Path, model: Path, tmp_path: Path
    ) -> None:
        copy = tmp_path / "crops"
        copy.mkdir()
        for path in store.iterdir():
            if path.is_file():
                (copy / path.name).write_bytes(path.read_bytes())
        crops = CropStore.open(store)
        held_out = split_identities(crops.labels, self.HELD_OUT, 3).held_out
        changed = np.array(crops.crops)
        changed[held_out] = 255 - changed[held_out]
        np.save(copy / "crops.npy", changed)
        checksums = [zlib.crc32(crop.tobytes()) for crop in changed]
        np.save(copy / "checksums.npy", np.array(checksums, np.uint32))
        other = load_file(train(self.config(copy, tmp_path / "run")).model)
        for name, value in load_file(model).items():
            assert torch.equal(other[name], value), name

    def test_too_few_pairs_set_no_threshold(
        self, tmp_path: Path, make_store: Callable[..., Path]
    ) -> None:
        store = make_store(tmp_path / "crops", (4, 4, 4, 4))
        config = make_config(
            store,
            tmp_path / "run",
            data={"validation_identities": 2},
            schedule={"steps": 3},
        )
        result = train(config)
        header = load_model(result.model).header
        assert header.threshold is None
        assert header.threshold_far is None
        # 8 crops of two identities: 2 * 6 genuine and 4 * 4 impostor pairs.
        assert "12 genuine and 16 impostor pairs" in str(result)
        assert "1,000 impostor pairs" in str(result)


def test_the_mean_image_is_that_of_the_training_crops(
    tmp_path: Path, make_store: Callable[..., Path]
) -> None:
    store = make_store(tmp_path / "crops", (5, 4, 3, 6))
    config = make_config(
        store,
        tmp_path / "run",
        mean="image",
        data={"validation_identities": 2},
        schedule={"steps": 3},
    )
    model = train(config).model
    loaded = load_model(model)
    crops = CropStore.open(store)
    rows = split_identities(crops.labels, 2, 3).rows
    assert 0 < len(rows) < len(crops)
    expected = np.array(crops.crops[rows]).astype(np.float64).mean(axis=0)
    assert loaded.header.mean == "image"
    found = loaded.network.preprocessing.mean
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)
    # Without the mean the embeddings would be others: it is used, not only kept.
    crop = np.array(crops.crops[:1])
    with torch.no_grad():
        images = (torch.from_numpy(crop).double() - torch.from_numpy(expected)) / 128
        images = images.permute(0, 3, 1, 2).float()
        by_hand = loaded.network.module(images)
        other = torch.from_numpy(crop[:, :, ::-1].copy()).double()
        images = (other - torch.from_numpy(expected)) / 128
        by_hand = by_hand + loaded.network.module(images.permute(0, 3, 1, 2).float())
    embedder = facever.load(model, device="cpu", precision="fp32")
    np.testing.assert_allclose(
        embedder.embed_crops(crop),
        by_hand.numpy(),
        atol=1e-4 * float(by_hand.abs().max()),
    )


def test_resident_crops_train_the_same_model(
    tmp_path: Path, make_store: Callable[..., Path]
) -> None:
    """On the CPU, where the store and its copy lie in the same memory."""
    store = make_store(tmp_path / "crops", (5, 4, 3, 6))
    models = []
    for resident in (True, False):
        out = tmp_path / str(resident)
        config = make_config(
            store,
            out,
            augmentation={"shift": 0, "brightness": 0},
            data={"resident": resident, "validation_identities": 2},
        )
        models.append(train(config).model.read_bytes())
    assert models[0] == models[1]


def test_crops_that_are_changed_cannot_be_resident(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"resident=true .* augmentation.shift=2"):
        train(make_config(store, tmp_path, data={"resident": True}))


def test_nothing_of_the_environment_is_in_the_model_file(trained: Path) -> None:
    content = (trained / "model.safetensors").read_bytes()
    assert os.fsencode(str(trained)) not in content


class TestPeopleByName:
    LIST = "identity,part\nP0,train\nP2,train\nP3,held_out\nP4,held_out\n"

    def config(self, tmp_path: Path, store: Path, text: str, **data: Any) -> Any:
        people = tmp_path / "people.csv"
        people.write_text(text)
        data = {"people": str(people), **data}
        return make_config(store, tmp_path / "run", data=data, schedule={"steps": 4})

    def test_the_list_decides_and_belongs_to_the_run(
        self, tmp_path: Path, make_store: Callable[..., Path]
    ) -> None:
        store = make_store(tmp_path / "crops", (4, 4, 5, 3, 2))
        train(self.config(tmp_path, store, self.LIST))
        kept = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
        assert kept["head"]["heads.softmax.weight"].shape[0] == 2
        # The order of the lines says nothing; another person does.
        head, *lines = self.LIST.splitlines()
        turned = "\n".join([head, *lines[::-1]])
        train(self.config(tmp_path, store, turned))
        other = self.LIST.replace("P2", "P1")
        with pytest.raises(ModelFileError, match="another config or other crops"):
            train(self.config(tmp_path, store, other))

    def test_either_a_list_or_a_draw(self, tmp_path: Path, store: Path) -> None:
        config = self.config(tmp_path, store, self.LIST, validation_identities=2)
        with pytest.raises(ConfigError, match=r"people says who is held out, got 2"):
            train(config)
        assert not (tmp_path / "run").exists()
