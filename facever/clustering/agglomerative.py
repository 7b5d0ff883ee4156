"""Average linkage under cosine, exact, in the memory of the embeddings alone.

The similarity of two clusters is the mean cosine of all pairs across them. For vectors
of unit length that is the dot product of the two clusters' means, so a cluster is kept
as its mean, and the matrix of all pairs is never held.

Two clusters that are each other's nearest can be merged at once, wherever they are: a
third one's similarity to the merged cluster is a weighted mean of its similarities to
the two, so it is never above the larger of these (the linkage is *reducible*). Hence

- merging all such pairs in one round gives what merging the most similar pair of all,
  again and again, gives;
- a cluster keeps its nearest until that one is merged;
- a cluster whose nearest is not above the cut is finished: nothing ever will be.

References:
    Murtagh, A survey of recent advances in hierarchical clustering algorithms, 1983,
    for reducibility and reciprocal nearest neighbours.
    Sumengen et al., Scaling hierarchical agglomerative clustering to billion-sized
    datasets, 2021, for merging them in rounds.
"""

import numpy as np
from jaxtyping import Float32, Int64

from facever.progress import Advance, ignore_progress

# Scores held at once: 64 MiB of float32.
_BLOCK_SCORES = 2**24


def average_linkage(
    units: Float32[np.ndarray, "faces dim"],
    cut: float,
    advance: Advance = ignore_progress,
) -> Int64[np.ndarray, " faces"]:
    """Clusters that are merged while the mean cosine across two is above a cut.

    Args:
        units: Embeddings of unit length.
        cut: A cosine.
        advance: Progress, one unit for each face.

    Returns:
        A number for each face, the same for all of a cluster: the row of its first
        face. Among equal similarities the order of the rows decides.
    """
    clusters = _Clusters(units)
    active = changed = np.arange(len(units))
    while len(active):
        clusters.find_nearest(changed, active)
        is_open = clusters.similarity[active] > cut
        advance(int(np.count_nonzero(~is_open)))
        active = active[is_open]
        kept, gone = clusters.merge_nearest(active)
        advance(len(gone))
        touched = np.zeros(len(units), bool)
        touched[kept] = touched[gone] = True
        active = np.setdiff1d(active, gone, assume_unique=True)
        changed = active[touched[active] | touched[clusters.nearest[active]]]
    return clusters.first_rows()


class _Clusters:
    """Clusters by the row of their first face, each with its mean and its nearest.

    Attributes:
        nearest: The nearest of each cluster, as last asked for.
        similarity: The mean cosine of the pairs of each cluster and its nearest.
    """

    def __init__(self, units: Float32[np.ndarray, "faces dim"]) -> None:
        rows = np.arange(len(units))
        self._merged_into = rows
        self._means = units.copy()
        self._sizes = np.ones(len(rows), np.int64)
        self.nearest = rows.copy()
        self.similarity = np.full(len(rows), -np.inf, np.float32)

    def find_nearest(
        self, asked: Int64[np.ndarray, " asked"], among: Int64[np.ndarray, " clusters"]
    ) -> None:
        """Set the nearest of some clusters among all that are left, in their order."""
        means = self._means[among]
        step = max(1, _BLOCK_SCORES // len(among))
        for start in range(0, len(asked), step):
            block = asked[start : start + step]
            scores = self._means[block] @ means.T
            scores[np.arange(len(block)), np.searchsorted(among, block)] = -np.inf
            best = scores.argmax(axis=1)
            self.nearest[block] = among[best]
            self.similarity[block] = scores[np.arange(len(block)), best]

    def merge_nearest(
        self, asked: Int64[np.ndarray, " asked"]
    ) -> tuple[Int64[np.ndarray, " merged"], Int64[np.ndarray, " merged"]]:
        """Merge the clusters that are each other's nearest.

        The most similar pair of all is among them, whatever rounding does.

        Returns:
            The clusters that grew, and those that went into them.
        """
        has_no_nearer = self.similarity[self.nearest[asked]] <= self.similarity[asked]
        candidates = asked[has_no_nearer]
        order = np.argsort(-self.similarity[candidates], kind="stable")
        taken: set[int] = set()
        pairs = []
        for one in candidates[order].tolist():
            other = int(self.nearest[one])
            if taken.isdisjoint((one, other)):
                taken |= {one, other}
                pairs.append((min(one, other), max(one, other)))
        kept, gone = np.array(pairs, np.int64).reshape(-1, 2).T
        sizes = self._sizes[kept] + self._sizes[gone]
        weight = (self._sizes[gone] / sizes).astype(np.float32)[:, None]
        self._means[kept] += weight * (self._means[gone] - self._means[kept])
        self._sizes[kept] = sizes
        self._merged_into[gone] = kept
        return kept, gone

    def first_rows(self) -> Int64[np.ndarray, " faces"]:
        """The first row of each face's cluster."""
        found = self._merged_into
        while not np.array_equal(found, found[found]):
            found = found[found]
        return found
