"""The crops of the largest clusters, side by side."""

import numpy as np
from jaxtyping import UInt8

from facever.clustering.face_clusters import FaceClusters
from facever.data.store.crop_store import CropStore

_NUM_CLUSTERS = 48
_NUM_CROPS = 12

Group = list[tuple[UInt8[np.ndarray, "high wide 3"], str]]


def cluster_groups(store: CropStore, found: FaceClusters) -> list[Group]:
    """A group for each of the largest clusters, the largest first.

    Where a cluster has more crops than there is room for, they are shown at even steps
    from the one most like the others to the one least like them: who does not belong
    there is among the last. Under each stand the cluster's number, from 1, and the
    cosine with the others.
    """
    groups = []
    for cluster in range(min(found.num_clusters, _NUM_CLUSTERS)):
        rows = found.rows_of(cluster)
        shown = np.linspace(0, len(rows) - 1, min(len(rows), _NUM_CROPS)).round()
        groups.append(
            [
                (
                    np.asarray(store.crops[row]),
                    f"{cluster + 1}: {found.cosine[row]:.2f}",
                )
                for row in rows[shown.astype(int)].tolist()
            ]
        )
    return groups
