"""What one process can know of a job; ``test_group.py`` has the others."""

import pytest
import torch
from torch import nn

from facever.errors import FaceverError, ParameterError
from facever.training import distributed as module
from facever.training.distributed import ALONE, Processes, process_group


def test_one_process_is_left_as_it_is() -> None:
    network, values = nn.Linear(2, 2), torch.randn(3)
    before = values.clone()
    assert ALONE.wrapped(network) is network
    for same in (ALONE.add, ALONE.largest, ALONE.joined, ALONE.copy_from_first):
        assert torch.equal(same(values), before)
    assert ALONE.part(7) == slice(0, 7)
    assert [ALONE.any(flag) for flag in (True, False)] == [True, False]


def test_parts_of_a_batch_are_its_samples_in_order() -> None:
    batch = list(range(12))
    parts = [batch[Processes(rank, 4).part(12)] for rank in range(4)]
    assert [len(part) for part in parts] == [3, 3, 3, 3]
    assert [sample for part in parts for sample in part] == batch


def test_the_first_process_speaks_for_all(capsys: pytest.CaptureFixture[str]) -> None:
    for rank in range(3):
        Processes(rank, 3).say(f"from {rank}")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "from 0\n")


@pytest.mark.parametrize("world", [None, "1"])
def test_without_others_there_is_no_group(
    world: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world:
        monkeypatch.setenv("WORLD_SIZE", world)
    with process_group("cpu") as processes:
        assert processes is ALONE
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:1", "must be auto, cpu or cuda for several processes, got 'cuda:1'"),
        ("auto", "--nproc-per-node must be at most 2, the GPUs of this machine"),
    ],
)
def test_each_process_needs_its_own_gpu(
    device: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ParameterError, match=message), process_group(device):
        pass


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer"),
        torch.distributed.DistBackendError("NCCL error: remote process exited"),
    ],
)
def test_a_lost_process_is_one_line_and_a_bug_is_not(
    error: RuntimeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(module, "_store_of_this_attempt", torch.distributed.HashStore)
    for name in ("init_process_group", "destroy_process_group"):
        monkeypatch.setattr(torch.distributed, name, lambda *_, **__: 0)
    with pytest.raises(FaceverError, match="another process of this job ended") as told:
        with process_group("cpu"):
            raise error
    assert "\n" not in str(told.value)
    with pytest.raises(RuntimeError, match="a bug"), process_group("cpu"):
        raise RuntimeError("a bug")


def test_a_restart_reads_no_address_of_the_attempt_that_died(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torchrun keeps one store over its restarts."""
    kept = torch.distributed.HashStore()
    monkeypatch.setattr(module, "rendezvous", lambda _: iter([(kept, 0, 2)]))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    module._store_of_this_attempt().set("address", "old")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    anew = module._store_of_this_attempt()
    assert not anew.check(["address"])
    anew.set("address", "new")
    assert anew.get("address") == b"new"
