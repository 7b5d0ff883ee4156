"""From embeddings to clusters of faces, each one person if all goes well."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int64

from facever.choices import ClusterMethod
from facever.cleaning.centers import find_centers
from facever.clustering.agglomerative import average_linkage
from facever.clustering.density import dense_regions
from facever.errors import ParameterError
from facever.inference.vectors import unit_vectors
from facever.progress import Advance, ignore_progress

ALONE = -1
"""The cluster of a face that is in none."""


@dataclass(frozen=True)
class FaceClusters:
    """Faces sorted by person.

    Attributes:
        clusters: The cluster of each face, from 0 for the largest; -1 for a face that
            is alone. Of equal size, the one with the earlier face comes first.
        cosine: The cosine of each face with the mean of its cluster's *other* faces;
            NaN for a face that is alone.
    """

    clusters: Int64[np.ndarray, " faces"]
    cosine: Float32[np.ndarray, " faces"]

    @property
    def num_clusters(self) -> int:
        """Number of clusters; faces that are alone make none."""
        return int(self.clusters.max(initial=ALONE)) + 1

    @property
    def num_alone(self) -> int:
        """Number of faces that are in no cluster."""
        return int(np.count_nonzero(self.clusters == ALONE))

    def rows_of(self, cluster: int) -> Int64[np.ndarray, " rows"]:
        """The faces of a cluster, the most like its others first."""
        rows = np.flatnonzero(self.clusters == cluster)
        return rows[np.argsort(-self.cosine[rows], kind="stable")]


def cluster_embeddings(
    embeddings: Float[np.ndarray, "faces dim"],
    threshold: float,
    *,
    method: ClusterMethod = "agglomerative",
    min_size: int = 2,
    advance: Advance = ignore_progress,
) -> FaceClusters:
    """Sort faces by person.

    Args:
        embeddings: One row a face, of any length but zero.
        threshold: The cosine above which two faces count as one person. By
            ``agglomerative`` two clusters become one while the mean cosine of the pairs
            across them is above it; by ``hdbscan`` a face stays in its cluster if it is
            above it with the mean of the others.
        method: ``agglomerative``, average linkage, or ``hdbscan``.
        min_size: Faces that make a cluster; those of smaller ones are alone. At least
            2.
        advance: Progress, one unit for each face.

    Raises:
        ParameterError: If an option is out of its range.
        DataError: If an embedding is all zero or not finite.

    >>> two_people = np.array([[1.0, 0.1], [0.1, 1.0], [1.0, 0.0], [0.9, 0.1]])
    >>> cluster_embeddings(two_people, threshold=0.5).clusters.tolist()
    [0, -1, 0, 0]
    """
    check_cluster_options(threshold, method, min_size)
    units = unit_vectors(embeddings)
    found = METHODS[method](units, threshold, min_size, advance)
    _, first_rows, numbers, sizes = np.unique(
        found, return_index=True, return_inverse=True, return_counts=True
    )
    largest_first = np.lexsort((first_rows, -sizes))
    is_cluster = sizes[largest_first] >= min_size
    renumbered = np.empty(len(sizes), np.int64)
    renumbered[largest_first] = np.where(is_cluster, np.arange(len(sizes)), ALONE)
    clusters = renumbered[numbers]
    cosine = find_centers(units, numbers).own_cosine
    cosine[clusters == ALONE] = np.nan
    return FaceClusters(clusters, cosine)


def check_cluster_options(
    threshold: float, method: ClusterMethod, min_size: int
) -> None:
    """Refuse options that are out of their range.

    Raises:
        ParameterError: The first of them, with what it may be.
    """
    if not -1 <= threshold < 1:
        raise ParameterError(f"threshold must be a cosine in [-1, 1), got {threshold}")
    if method not in METHODS:
        raise ParameterError(
            f"method must be one of {', '.join(METHODS)}, got {method!r}"
        )
    if min_size < 2:
        raise ParameterError(f"min_size must be at least 2 faces, got {min_size}")


def _average_linkage(
    units: Float32[np.ndarray, "faces dim"],
    threshold: float,
    min_size: int,
    advance: Advance,
) -> Int64[np.ndarray, " faces"]:
    """Average linkage, whose clusters are the same for any ``min_size``."""
    return average_linkage(units, threshold, advance)


Method = Callable[
    [Float32[np.ndarray, "faces dim"], float, int, Advance], Int64[np.ndarray, " faces"]
]
"""From unit vectors, threshold, ``min_size`` and progress to a number for each face.

The numbers are the same for all faces of a cluster; clusters that are too small may be
among them.
"""

METHODS: dict[ClusterMethod, Method] = {
    "agglomerative": _average_linkage,
    "hdbscan": dense_regions,
}
