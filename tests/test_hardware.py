import subprocess
import sys

import pytest
import torch

from facever import environment, hardware
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
    ("flags", "expected"),
    [
        ("", False),
        ("fpu avx2 avx512f", False),
        ("fpu avx512_bf16 avx2", True),
        ("amx_tile amx_bf16", True),
    ],
)
def test_bf16_units_of_a_cpu(
    monkeypatch: pytest.MonkeyPatch, flags: str, expected: bool
) -> None:
    monkeypatch.setattr(environment, "_cpu_fields", lambda: {"flags": flags})
    assert has_bf16_units("cpu") is expected


def test_units_are_those_that_torch_sees() -> None:
    seen = torch.cpu.get_capabilities()
    assert has_bf16_units("cpu") is (seen["avx512_bf16"] or seen["amx_bf16"])


@pytest.mark.parametrize(("version", "expected"), [((7, 5), False), ((8, 0), True)])
def test_bf16_units_of_a_gpu(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: version)
    assert has_bf16_units("cuda") is expected


def test_only_auto_asks_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for units in (True, False):
        monkeypatch.setattr(hardware, "has_bf16_units", lambda _, units=units: units)
        assert uses_bf16("auto", "cpu") is units
        assert not uses_bf16("fp32", "cpu")
    with pytest.raises(ParameterError, match="'bf16', for which cpu has no units"):
        uses_bf16("bf16", "cpu")
    monkeypatch.setattr(hardware, "has_bf16_units", lambda _: True)
    assert uses_bf16("bf16", "cpu")


def test_the_cpu_is_named_without_torch() -> None:
    check = "import sys, facever.hardware as h; h.device_name('cpu'); "
    check += "h.has_bf16_units('cpu'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
