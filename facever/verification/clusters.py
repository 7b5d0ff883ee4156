"""How well clusters of faces agree with the people on them.

Both measures come from one table of counts, of the faces of each cluster and person, so
they are exact without a pair ever being listed.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from facever.errors import DataError


@dataclass(frozen=True)
class ClusterAgreement:
    """How well clusters agree with people.

    Attributes:
        num_faces: Number of faces.
        num_people: Number of people.
        num_clusters: Number of clusters, those of one face included.
        pair_precision: Share of the pairs within a cluster that show one person; NaN
            where every cluster has one face.
        pair_recall: Share of the pairs of one person that are within a cluster; NaN
            where every person has one face.
        b_cubed_precision: Mean over the faces of the share of their cluster that shows
            their person.
        b_cubed_recall: Mean over the faces of the share of their person's faces that is
            in their cluster.

    References:
        Bagga and Baldwin, Entity-based cross-document coreferencing using the vector
        space model, 1998, for B-cubed.
    """

    num_faces: int
    num_people: int
    num_clusters: int
    pair_precision: float
    pair_recall: float
    b_cubed_precision: float
    b_cubed_recall: float

    @property
    def pair_f(self) -> float:
        """The harmonic mean of the pairs' precision and recall."""
        return _harmonic_mean(self.pair_precision, self.pair_recall)

    @property
    def b_cubed_f(self) -> float:
        """The harmonic mean of B-cubed's precision and recall."""
        return _harmonic_mean(self.b_cubed_precision, self.b_cubed_recall)


def compare_clusters(
    clusters: Int64[np.ndarray, " faces"], people: Int64[np.ndarray, " faces"]
) -> ClusterAgreement:
    """Compare clusters with the people on the faces.

    A photo counts in every pair that it is in, so large clusters and people decide the
    pairs' measures; B-cubed gives each face the same weight.

    Args:
        clusters: The cluster of each face, by any number; a face that is alone has a
            number of its own.
        people: The person on each face, by any number.

    Raises:
        DataError: If there is no face.

    >>> agreement = compare_clusters(np.array([0, 0, 0, 1]), np.array([7, 7, 8, 8]))
    >>> f"{agreement.pair_precision:.3f} {agreement.pair_recall:.3f}"
    '0.333 0.500'
    >>> f"{agreement.b_cubed_precision:.3f} {agreement.b_cubed_recall:.3f}"
    '0.667 0.750'
    """
    if not len(clusters):
        raise DataError("there are no faces whose clusters could be compared")
    of_cluster, cluster_sizes = _numbered(clusters)
    of_person, person_sizes = _numbered(people)
    # A cell of the table is a cluster and a person that share at least one face.
    cells, shared = np.unique(
        of_cluster * len(person_sizes) + of_person, return_counts=True
    )
    cell_cluster = cluster_sizes[cells // len(person_sizes)]
    cell_person = person_sizes[cells % len(person_sizes)]
    pairs_shared = _num_pairs(shared)
    return ClusterAgreement(
        num_faces=len(clusters),
        num_people=len(person_sizes),
        num_clusters=len(cluster_sizes),
        pair_precision=_share(pairs_shared, _num_pairs(cluster_sizes)),
        pair_recall=_share(pairs_shared, _num_pairs(person_sizes)),
        b_cubed_precision=float((shared**2 / cell_cluster).sum() / len(clusters)),
        b_cubed_recall=float((shared**2 / cell_person).sum() / len(clusters)),
    )


def _numbered(
    names: Int64[np.ndarray, " faces"],
) -> tuple[Int64[np.ndarray, " faces"], Int64[np.ndarray, " groups"]]:
    """A number from 0 for each group, and how many faces each has."""
    _, numbers, sizes = np.unique(names, return_inverse=True, return_counts=True)
    return numbers, sizes


def _num_pairs(counts: Int64[np.ndarray, " groups"]) -> int:
    return int((counts * (counts - 1) // 2).sum())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _harmonic_mean(precision: float, recall: float) -> float:
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0
