import numpy as np
import pytest
import torch

from facever.data.batches.resident import ResidentCrops, fits_on
from facever.errors import ParameterError

CROPS = np.random.default_rng(0).integers(0, 256, (9_000, 4, 3, 3), np.uint8)


def test_crops_are_those_of_their_rows() -> None:
    """More rows than are copied at once, with gaps."""
    rows = np.flatnonzero(np.arange(len(CROPS)) % 5)
    counts: list[int] = []
    resident = ResidentCrops(
        CROPS,
        rows,
        torch.device("cpu"),
        lambda count=1, note="": counts.append(count),
    )
    assert sum(counts) == len(rows)
    assert len(counts) > 1
    asked = np.random.default_rng(1).permutation(rows)
    np.testing.assert_array_equal(resident.take(asked).numpy(), CROPS[asked])


def test_a_device_without_the_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*shape: object, **options: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "empty", refuse)
    with pytest.raises(ParameterError, match=r"needs 0.0 GB for 7 crops on cpu"):
        ResidentCrops(CROPS, np.arange(7), torch.device("cpu"))


def test_nothing_is_copied_to_the_memory_of_a_cpu_unasked() -> None:
    assert not fits_on(torch.device("cpu"), 1)
