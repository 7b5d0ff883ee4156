from collections.abc import Callable

import numpy as np
import pytest

from facever.verification.protocols import PairList

Drawn = tuple[np.ndarray, list[str], PairList]


@pytest.fixture(scope="session")
def draw() -> Callable[..., Drawn]:
    """Embeddings of made-up people and pairs of them in folds, some photos shared."""

    def draw_pairs(
        seed: int = 0, folds: int = 4, per_kind: int = 15, dim: int = 8
    ) -> Drawn:
        rng = np.random.default_rng(seed)
        people = 3 * folds
        images = [f"P{p}/P{p}_{n:04d}.jpg" for p in range(people) for n in range(1, 7)]
        centers = rng.normal(size=(people, dim)).repeat(6, axis=0)
        embeddings = centers + 0.9 * rng.normal(size=(len(images), dim)) + 0.5
        left, right, same, fold = [], [], [], []
        for f in range(folds):
            # Three people a fold and one of the next, so that folds share photos.
            mine = [p % people for p in range(3 * f, 3 * f + 4)]
            for i in range(2 * per_kind):
                genuine = i < per_kind
                first = int(rng.choice(mine))
                second = (
                    first
                    if genuine
                    else int(rng.choice([p for p in mine if p != first]))
                )
                a, b = rng.choice(6, size=2, replace=False)
                left.append(images[6 * first + a])
                right.append(images[6 * second + b])
                same.append(genuine)
                fold.append(f)
        pairs = PairList(left, right, np.array(same), np.array(fold, dtype=np.int64))
        return embeddings, images, pairs

    return draw_pairs
