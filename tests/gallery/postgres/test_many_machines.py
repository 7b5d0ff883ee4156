"""Faces of a job in shards, enrolled in PostgreSQL by several workers at once."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facever.gallery.opening import open_gallery
from facever.stages.many_machines.job import run_job
from facever.stages.many_machines.shards import Plan, ShardEnroller


class Threads:
    """Four workers who enroll, each with work of its own; one who does the rest."""

    def answers(
        self,
        make_work: Callable[[Plan], Callable[[Any], Any]],
        plan: Plan,
        shards: Sequence[Any],
    ) -> Iterator[Any]:
        # Torch is made ready for computing in one thread at a time.
        with ThreadPoolExecutor(4 if make_work is ShardEnroller else 1) as pool:
            yield from pool.map(lambda shard: make_work(plan)(shard), shards)


def test_several_workers_enroll_at_once(
    tmp_path: Path,
    make_model: Callable[..., Path],
    postgres_place: Callable[[], str],
    types_unchecked: None,
) -> None:
    model = str(make_model(tmp_path / "model.safetensors"))
    photos, rng = tmp_path / "photos", np.random.default_rng(0)
    for number in range(250):
        path = photos / f"P{number % 7}/{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        crop = rng.integers(0, 256, (112, 96, 3), dtype=np.uint8)
        Image.fromarray(crop).save(path)

    def run(gallery: Path | str) -> Any:
        return run_job(
            photos,
            tmp_path / "job",
            model,
            Threads(),
            gallery=gallery,
            detector="crops",
            shard_photos=64,
        )

    def entries(gallery: Path | str) -> dict[tuple[str, str], bytes]:
        with open_gallery(gallery) as people:
            return {
                (entry.name, entry.source): embedding.tobytes()
                for block, embeddings in people.read()
                for entry, embedding in zip(block, embeddings, strict=True)
            }

    place = postgres_place()
    assert run(place).num_added == 250
    run(tmp_path / "folder")
    assert entries(place) == entries(tmp_path / "folder")
    again = run(place)
    assert (again.num_added, again.num_known) == (0, 250)
