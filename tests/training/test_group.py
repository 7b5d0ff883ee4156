"""Jobs of 2 and 4 processes beside one process with the same batches."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facever.errors import ParameterError
from facever.heads import HEADS
from facever.heads.parts.annealing import Annealing
from facever.heads.parts.sharded_rows import ClassShards
from facever.training.checkpoint import read_checkpoint
from facever.training.distributed import ALONE, Processes

GROUP_RUN = Path(__file__).with_name("group_run.py")
group = SimpleNamespace(**runpy.run_path(str(GROUP_RUN)))
pytestmark = pytest.mark.usefixtures("one_thread")

SHARED = ["softmax", "cosface", "arcface", "sphereface", "lsoftmax", "angular"]
every_case = pytest.mark.parametrize("case", list(group.CASES))


@pytest.fixture(scope="module", params=[2, 4])
def job(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of a job, and what each of its processes measured."""
    folder = tmp_path_factory.mktemp("job")
    settings = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    subprocess.run(
        [sys.executable, str(GROUP_RUN), str(request.param), str(folder)],
        env=os.environ | settings,
        check=True,
    )
    found = [
        torch.load(folder / f"{rank}.pt", weights_only=True)
        for rank in range(request.param)
    ]
    return folder, found


@pytest.fixture(scope="module")
def alone() -> Callable[[str], dict[str, Any]]:
    """The same head in this process alone."""
    known: dict[str, dict[str, Any]] = {}

    def measured(case: str) -> dict[str, Any]:
        if case not in known:
            known[case] = group.measure_head(*group.CASES[case], ALONE)
        return known[case]

    return measured


def assert_close(
    found: Any,
    expected: Any,
    where: str,
    relative: float = 1e-10,
    absolute: float = 1e-12,
) -> None:
    limits = relative, absolute
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_close(found[key], value, f"{where}.{key}", *limits)
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for number, value in enumerate(expected):
            assert_close(found[number], value, f"{where}.{number}", *limits)
    elif isinstance(expected, Tensor):
        np.testing.assert_allclose(found, expected, *limits, err_msg=where)
    else:
        assert found == expected, where


@every_case
def test_loss_gradients_and_hits_are_those_of_one_process(
    case: str, job: tuple[Path, list[dict[str, Any]]], alone: Callable[..., Any]
) -> None:
    expected = alone(case)
    assert float(expected["loss 0"]) > 0.1, "a flat loss proves nothing"
    assert expected["gradient 0"].abs().max() > 1e-3
    for process in job[1]:
        for step in range(group.STEPS):
            for what in ("loss", "gradient", "hits"):
                key = f"{what} {step}"
                if key in expected:
                    assert_close(process[case][key], expected[key], f"{case} {key}")


@every_case
def test_weights_centers_sigma2_and_momentum_are_those_of_one_process(
    case: str, job: tuple[Path, list[dict[str, Any]]], alone: Callable[..., Any]
) -> None:
    state = alone(case)["state"]
    whole = read_checkpoint(job[0] / f"{case}.pt")
    assert_close(whole["head"], state.head.state_dict(), case)
    expected = state.optimiser.state_dict()["state"]
    assert_close(whole["optimiser"]["state"], expected, case)


@every_case
def test_what_every_process_holds_stays_equal_to_the_last_bit(
    case: str, job: tuple[Path, list[dict[str, Any]]]
) -> None:
    name, _ = group.CASES[case]
    first = job[1][0][case]["own"]
    for process in job[1][1:]:
        for key, value in process[case]["own"].items():
            if name not in SHARED or key.endswith("step"):
                assert torch.equal(value, first[key]), key


def test_processes_that_round_unlike_still_move_alike(
    job: tuple[Path, list[dict[str, Any]]],
) -> None:
    expected = group.measure_unlike(ALONE)
    assert len(expected) == 4
    for process in job[1]:
        assert_close(process["unlike"], expected, "unlike")


@pytest.mark.parametrize("case", SHARED)
def test_class_vectors_are_shared_and_the_memory_with_them(
    case: str, job: tuple[Path, list[dict[str, Any]]], alone: Callable[..., Any]
) -> None:
    sizes = [process[case]["bytes"] for process in job[1]]
    expected = alone(case)["bytes"]
    assert sum(sizes) == expected
    # 11 classes do not divide evenly: one row more or less.
    assert max(sizes) - min(sizes) <= expected / group.CLASSES


@pytest.mark.parametrize("title", ["whole", "clipped", "mixed", "adamw in parts"])
def test_a_job_trains_the_network_of_one_process(
    title: str, job: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    options = group.RUNS[title]
    state = group.train(tmp_path, ALONE, 6, **options)
    fresh = group.make_state(ALONE)
    for key, value in state.network.state_dict().items():
        assert not torch.allclose(value, fresh.network.state_dict()[key], atol=1e-3)
        for process in job[1]:
            found = process[title][key]
            np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-6)
            assert torch.equal(found, job[1][0][title][key])
    logs = [read_log(folder) for folder in (job[0] / title, tmp_path)]
    for line, expected in zip(*logs, strict=True):
        assert line.keys() == expected.keys()
        assert ("gradient_norm" in line) == ("clip" in options)
        for key in (key for key in line if "second" not in key):
            assert line[key] == pytest.approx(expected[key], rel=1e-4), key


def read_log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").open()]


@pytest.mark.parametrize("title", list(group.RUNS))
def test_a_resumed_job_goes_on_bit_for_bit(
    title: str, job: tuple[Path, list[dict[str, Any]]]
) -> None:
    for process in job[1]:
        for key, value in process[title].items():
            assert torch.equal(process[f"{title}-resumed"][key], value), key
    straight, resumed = (
        read_checkpoint(job[0] / name / "checkpoint.pt")
        for name in (title, f"{title}-resumed")
    )
    for part in ("head", "optimiser", "network"):
        assert_close(resumed[part], straight[part], part, relative=0, absolute=0)


def test_a_checkpoint_moves_between_any_numbers_of_processes(
    job: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """Saved by the job at step 6; one process goes on from it."""
    content = (job[0] / "whole" / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(content)
    moved = group.train(tmp_path, ALONE, 9)
    straight = tmp_path / "straight"
    straight.mkdir()
    expected = group.train(straight, ALONE, 9)
    assert moved.step == 9
    for part in ("network", "head"):
        one, other = getattr(moved, part), getattr(expected, part)
        for key, value in one.state_dict().items():
            value, wanted = value.numpy(), other.state_dict()[key].numpy()
            np.testing.assert_allclose(value, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_slice_of_three_is_cut_from_a_whole_checkpoint(
    rank: int, job: tuple[Path, list[dict[str, Any]]]
) -> None:
    """As a third process of three would load it, which needs no peer."""
    path = job[0] / "whole" / "checkpoint.pt"
    whole = read_checkpoint(path)
    state = group.make_state(Processes(rank, 3))
    group.load_checkpoint(path, state, "group")
    held = slice(*[(0, 3), (3, 7), (7, 11)][rank])
    softmax = state.head.heads["softmax"]
    for key in ("weight", "bias"):
        expected = whole["head"][f"heads.softmax.{key}"][held]
        assert torch.equal(getattr(softmax, key), expected)
        found = state.optimiser.state[getattr(softmax, key)]["momentum_buffer"]
        momenta = [
            kept["momentum_buffer"][held]
            for kept in whole["optimiser"]["state"].values()
            if kept.get("momentum_buffer") is not None
            and kept["momentum_buffer"].ndim == expected.ndim
            and len(kept["momentum_buffer"]) == group.CLASSES
        ]
        assert any(torch.equal(found, each) for each in momenta)


def test_rows_start_alike_however_they_are_shared() -> None:
    def weight(shards: ClassShards | None) -> Tensor:
        torch.manual_seed(5)
        made = HEADS["arcface"](6, 9000, shards)
        # Whatever is drawn next must not hang on the shares either.
        return torch.cat([made.weight.detach(), torch.rand(1, 6)])

    whole = weight(None)
    slices = [weight(ClassShards(Processes(rank, 4))) for rank in range(4)]
    assert torch.equal(torch.cat([each[:-1] for each in slices]), whole[:-1])
    assert all(torch.equal(each[-1], whole[-1]) for each in slices)
    torch.manual_seed(5)
    expected = nn.init.xavier_normal_(torch.empty(9000, 6))
    np.testing.assert_allclose(whole[:-1], expected, rtol=1e-6)


def test_the_sum_holds_where_the_margin_is_far_below_the_plain_logit() -> None:
    """The own class: 45 degrees away, 20 * 20 cos = 283, and -400 with the margin."""
    annealing = Annealing(start=0.0, floor=0.0)
    head = HEADS["lsoftmax"](2, 2, ClassShards(ALONE), margin=4, annealing=annealing)
    rows = torch.tensor([[200**0.5, 200**0.5], [0.0, -20.0]])
    head.load_state_dict({"weight": rows, "step": torch.tensor(0)})
    embeddings = torch.tensor([[20.0, 0.0]], requires_grad=True)
    output = head(embeddings, torch.tensor([0]))
    # The other class's logit is 0: log(1 + e^400) of float32.
    assert output.loss.item() == pytest.approx(400, rel=1e-4)
    assert output.hits.tolist() == [True], "without the margin it leads"
    output.loss.backward()
    assert embeddings.grad.isfinite().all()


class TestSampledClasses:
    """Partial FC in one process, which needs no peers either."""

    @pytest.mark.parametrize("case", SHARED)
    def test_the_loss_is_that_of_the_classes_drawn(
        self, case: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name, options = group.CASES[case]
        classes, batch = 40, 5
        torch.manual_seed(1)
        embeddings = torch.randn(batch, 6).double().requires_grad_()
        labels = torch.tensor([3, 39, 3, 0, 17])
        head = HEADS[name](6, classes, ClassShards(ALONE, 0.25), **options).double()
        drawn: list[Tensor] = []
        original = ClassShards.drawn

        def spy(*given: Any) -> Tensor:
            drawn.append(original(*given))
            return drawn[-1]

        monkeypatch.setattr(ClassShards, "drawn", spy)
        loss = head(embeddings, labels).loss
        loss.backward()
        (rows,) = drawn
        assert len(rows) == 10
        assert set(labels.tolist()) < set(rows.tolist())
        # A head that has no other classes.
        small = HEADS[name](6, 10, **options).double()
        state = head.state_dict()
        state.pop("draws")
        if "step" in state:
            state["step"] -= 1
        for key in ("weight", "bias"):
            if key in state:
                state[key] = state[key][rows]
        small.load_state_dict(state)
        again = embeddings.detach().clone().requires_grad_()
        places = torch.tensor([rows.tolist().index(label) for label in labels])
        expected = small(again, places)
        expected.loss.backward()
        np.testing.assert_allclose(loss.item(), expected.loss.item(), rtol=1e-12)
        np.testing.assert_allclose(embeddings.grad, again.grad, rtol=1e-9, atol=1e-14)
        gradient = torch.zeros_like(head.weight)
        gradient[rows] = small.weight.grad
        np.testing.assert_allclose(head.weight.grad, gradient, rtol=1e-9, atol=1e-14)

    def test_every_step_draws_others_and_evaluation_takes_all(self) -> None:
        shards = ClassShards(ALONE, 0.1, seed=4)
        labels, held = torch.tensor([5]), torch.tensor([True])
        draws = [shards.drawn(labels, held, 100, draw).tolist() for draw in range(300)]
        assert draws[7] == shards.drawn(labels, held, 100, 7).tolist()
        assert all(len(set(each)) == 10 and 5 in each for each in draws)
        assert all(each == sorted(each) for each in draws)
        counts = np.bincount(np.concatenate(draws), minlength=100)
        # 9 of 99 others: 27.3 draws of each are expected, with a deviation of 5.
        others = np.delete(counts, 5)
        assert 5 < others.min() < others.max() < 55
        assert not np.array_equal(
            draws[7], ClassShards(ALONE, 0.1, seed=5).drawn(labels, held, 100, 7)
        )
        head = HEADS["cosface"](6, 40, shards)
        whole = HEADS["cosface"](6, 40)
        state = head.state_dict()
        assert int(state.pop("draws")) == 0
        whole.load_state_dict(state)
        given = torch.randn(8, 6), torch.arange(8)
        assert head(*given).loss < whole(*given).loss
        assert int(head.draws) == 1
        found = head.eval()(*given).loss
        np.testing.assert_allclose(found.item(), whole.eval()(*given).loss.item(), 1e-6)
        assert int(head.draws) == 1

    def test_a_batch_of_more_classes_than_the_share_keeps_them_all(self) -> None:
        shards = ClassShards(ALONE, 0.01)
        labels = torch.arange(20)
        rows = shards.drawn(labels, torch.ones(20, dtype=torch.bool), 100, 0)
        assert set(range(20)) == set(rows.tolist())
        rows = shards.drawn(labels, torch.zeros(20, dtype=torch.bool), 100, 0)
        assert len(rows) == 20
        assert set(range(20)) != set(rows.tolist()), "none of them is held here"


class TestWhatIsRefused:
    @pytest.mark.parametrize("sample", [0.0, -1.0, 1.5, float("nan")])
    def test_a_share_out_of_range(self, sample: float) -> None:
        with pytest.raises(ParameterError, match=r"sample must be in \(0, 1\], got"):
            ClassShards(ALONE, sample)

    def test_more_processes_than_classes(self) -> None:
        with pytest.raises(ParameterError, match="must be at least 8, the number of"):
            HEADS["softmax"](6, 5, ClassShards(Processes(0, 8)))

    def test_a_batch_that_does_not_divide(self) -> None:
        with pytest.raises(ParameterError, match="multiple of the 3 processes, got 8"):
            Processes(0, 3).part(8)
