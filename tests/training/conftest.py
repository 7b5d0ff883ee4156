import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

TINY_RUN = Path(__file__).with_name("tiny_run.py")


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """What tiny_run.py defines, and its path."""
    return SimpleNamespace(**runpy.run_path(str(TINY_RUN)), path=TINY_RUN)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in one order, so that runs can be compared bit for bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
