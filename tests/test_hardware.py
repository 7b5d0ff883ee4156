import pytest
import torch

from facever import hardware
from facever.errors import ParameterError
from facever.hardware import has_bf16_units, pick_device, uses_bf16

CPU = torch.device("cpu")


def test_auto_takes_the_gpu_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, expected in (True, "cuda"), (False, "cpu"):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert pick_device("auto") == torch.device(expected)


@pytest.mark.parametrize("name", ["", "gpu", "cuda:99", "hpu"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(
        ParameterError, match=f"device must be auto, cpu .* got '{name}'"
    ):
        pick_device(name)


def test_cpu_is_always_there() -> None:
    assert pick_device("cpu") == CPU


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({}, False),
        ({"avx512_bf16": False, "amx_bf16": False, "avx2": True}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
    ],
)
def test_bf16_units_of_a_cpu(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_bf16_units(CPU) is expected


@pytest.mark.parametrize(("version", "expected"), [((7, 5), False), ((8, 0), True)])
def test_bf16_units_of_a_gpu(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: version)
    assert has_bf16_units(torch.device("cuda")) is expected


def test_only_auto_asks_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for units in (True, False):
        monkeypatch.setattr(hardware, "has_bf16_units", lambda _, units=units: units)
        assert uses_bf16("auto", CPU) is units
        assert uses_bf16("bf16", CPU)
        assert not uses_bf16("fp32", CPU)
