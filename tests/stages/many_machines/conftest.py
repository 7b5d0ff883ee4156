"""Photos that are crops already, and a process that does all the work by itself."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facever.stages.many_machines.shards import Plan


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """150 photos of seven people; every tenth is of the wrong size."""
    rng = np.random.default_rng(0)
    for number in range(150):
        path = tmp_path / f"photos/P{number % 7}/{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        height = 90 if number % 10 == 9 else 112
        crop = rng.integers(0, 256, (height, 96, 3), dtype=np.uint8)
        Image.fromarray(crop).save(path)
    return tmp_path / "photos"


class Here:
    """This process in the place of a cluster; it may be stopped before a shard."""

    def __init__(self, stop_before: int | None = None) -> None:
        self.done: list[tuple[str, Any]] = []
        self._stop_before = stop_before

    def answers(
        self,
        make_work: Callable[[Plan], Callable[[Any], Any]],
        plan: Plan,
        shards: Sequence[Any],
    ) -> Iterator[Any]:
        work = make_work(plan)
        # A cluster gives answers in any order.
        for shard in reversed(shards):
            if len(self.done) == self._stop_before:
                raise RuntimeError("stopped")
            self.done.append((make_work.__name__, getattr(shard, "number", shard)))
            yield work(shard)


@pytest.fixture
def here() -> type[Here]:
    return Here
