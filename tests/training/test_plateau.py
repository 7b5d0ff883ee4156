"""The oracle is torch's ReduceLROnPlateau, which counts the looks beyond patience."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facever.errors import ModelFileError, ParameterError
from facever.inference.preprocessing import Preprocessing
from facever.training.checkpoint import load_checkpoint, save_checkpoint
from facever.training.fit import Callbacks, Computation, Intervals, fit
from facever.training.log_lines import log_to
from facever.training.schedule import Plateau, Schedule

MEASURES = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]) | st.floats(0, 1))


def rates_of_torch(values: list[float], patience: int, factor: float) -> list[float]:
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser,
        mode="max",
        factor=factor,
        patience=patience - 1,
        threshold=0.0,
        eps=0.0,
    )
    rates = []
    for value in values:
        schedule.step(value)
        rates.append(optimiser.param_groups[0]["lr"])
    return rates


@given(MEASURES, st.integers(1, 4), st.floats(0.1, 0.9))
def test_it_falls_when_torch_s_does(
    values: list[float], patience: int, factor: float
) -> None:
    plateau, scales = Plateau("auc", patience, factor), []
    for value in values:
        plateau.look(value)
        scales.append(plateau.scale)
    assert scales == pytest.approx(rates_of_torch(values, patience, factor))


@given(MEASURES, MEASURES, st.integers(1, 4))
def test_it_goes_on_from_what_it_kept(
    before: list[float], after: list[float], patience: int
) -> None:
    one, other = Plateau("auc", patience, 0.5), Plateau("auc", patience, 0.5)
    for value in before:
        one.look(value)
    other.load(json.loads(json.dumps(one.content())))
    for value in after:
        one.look(value)
        other.look(value)
    assert one.content() == other.content()


@pytest.mark.parametrize(
    ("patience", "factor", "message"),
    [
        (0, 0.1, "patience must be >= 1, got 0"),
        (1, 0.0, r"factor must be in \(0, 1\), got 0"),
        (1, 1.0, r"factor must be in \(0, 1\), got 1"),
    ],
)
def test_out_of_range(patience: int, factor: float, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Plateau("auc", patience, factor)


class TestInTheLoop:
    """Looks after steps 2, 4, 6, 8 and 10; the warm-up ends with step 2."""

    LOOKS = (0.9, 0.5, 0.6, 0.5, 0.5)

    def train(
        self, tiny: SimpleNamespace, folder: Path, stop_at: int | None = None
    ) -> list[dict[str, Any]]:
        state = tiny.make_state()
        state.plateau = Plateau("tar", patience=2, factor=0.5)
        path = folder / "checkpoint.pt"
        if path.exists():
            load_checkpoint(path, state, "tiny")

        def save() -> None:
            save_checkpoint(path, state, "tiny")
            if state.step == stop_at:
                raise KeyboardInterrupt

        def validate() -> dict[str, float]:
            value = self.LOOKS[state.step // 2 - 1]
            return {"held_out_auc": 1 - value, "held_out_tar": value}

        fit(
            state,
            tiny.make_loader(),
            Preprocessing(),
            Schedule(tiny.STEPS, 0.08, warmup=2),
            Computation(torch.device("cpu")),
            Intervals(log=1, checkpoint=stop_at or 100, validate=2),
            Callbacks(save, log_to(folder / "log.jsonl"), validate),
        )
        return [json.loads(line) for line in (folder / "log.jsonl").open()]

    @pytest.mark.usefixtures("one_thread")
    @pytest.mark.parametrize("stop_at", [None, 6, 7, 8])
    def test_the_rate_falls_after_the_warm_up_and_a_resumed_one_alike(
        self, tiny: SimpleNamespace, tmp_path: Path, stop_at: int | None
    ) -> None:
        if stop_at is not None:
            with pytest.raises(KeyboardInterrupt):
                self.train(tiny, tmp_path, stop_at)
        lines = self.train(tiny, tmp_path)
        rates = [line["learning_rate"] for line in lines if "loss" in line]
        # The 0.9 of the warm-up does not count: 0.6 after step 6 is a gain, and the
        # looks after steps 8 and 10 are the two without one.
        assert rates == pytest.approx([0.04] + 9 * [0.08])
        looks = [line for line in lines if "held_out_tar" in line]
        assert [line["step"] for line in looks] == [2, 4, 6, 8, 10]
        assert [line["held_out_tar"] for line in looks] == list(self.LOOKS)
        kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["plateau"]
        assert kept == {"scale": 0.5, "best": 0.6, "num_without_gain": 0}

    def test_the_rate_is_that_of_the_schedule_times_the_scale(
        self, tiny: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(self, "LOOKS", (0.9, 0.5, 0.4, 0.5, 0.5))
        lines = self.train(tiny, tmp_path)
        rates = [line["learning_rate"] for line in lines if "loss" in line]
        # 0.5 is the best; 0.4 and the first 0.5 again are two looks without a gain.
        assert rates == pytest.approx([0.04] + 7 * [0.08] + 2 * [0.04])

    def test_a_checkpoint_without_one_is_refused(
        self, tiny: SimpleNamespace, tmp_path: Path
    ) -> None:
        save_checkpoint(tmp_path / "checkpoint.pt", tiny.make_state(), "tiny")
        with pytest.raises(ModelFileError, match="out="):
            self.train(tiny, tmp_path)
