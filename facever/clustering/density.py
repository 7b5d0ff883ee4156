"""HDBSCAN: clusters where faces lie closer together than around them.

References:
    Campello, Moulavi and Sander, Density-based clustering based on hierarchical density
    estimates, 2013.
    McInnes and Healy, Accelerated hierarchical density based clustering, 2017, for
    choosing clusters by their excess of mass.
"""

import numpy as np
from jaxtyping import Float32, Int64
from sklearn.cluster import HDBSCAN

from facever.cleaning.centers import find_centers
from facever.progress import Advance, ignore_progress


def dense_regions(
    units: Float32[np.ndarray, "faces dim"],
    threshold: float,
    min_size: int,
    advance: Advance = ignore_progress,
) -> Int64[np.ndarray, " faces"]:
    """HDBSCAN's clusters, without the faces that are not above a threshold.

    Density alone knows no stranger: where everybody has one photo it makes a cluster of
    any two who are closer than others. So whoever is not above the threshold, by the
    cosine with the mean of the cluster's other faces, is put out of the cluster.

    Unit vectors are compared by Euclidean distance, which ranks as the cosine does,
    since scikit-learn then keeps no matrix of all pairs. The time grows with
    ``faces^2 * dim``: about 2 minutes for 20,000 faces of 128 numbers, 6 of 512, on one
    CPU core.

    Args:
        units: Embeddings of unit length.
        threshold: A cosine.
        min_size: Faces that make a cluster, at least 2.
        advance: Progress, one unit for each face, all at the end.

    Returns:
        A number for each face, the same for all of a cluster; those that are in none
        have a number of their own.
    """
    if len(units) < min_size:
        return np.arange(len(units))
    forest = HDBSCAN(min_cluster_size=min_size, algorithm="kd_tree", copy=True)
    found = _alone_apart(forest.fit_predict(units).astype(np.int64))
    advance(len(units))
    own_cosine = find_centers(units, found).own_cosine
    return _alone_apart(np.where(own_cosine > threshold, found, -1))


def _alone_apart(clusters: Int64[np.ndarray, " faces"]) -> Int64[np.ndarray, " faces"]:
    """Numbers from 0, where each -1 has a number of its own."""
    is_alone = clusters < 0
    apart = clusters.copy()
    apart[is_alone] = len(clusters) + np.arange(np.count_nonzero(is_alone))
    return np.unique(apart, return_inverse=True)[1]
