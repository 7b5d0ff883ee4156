"""From the embeddings of photos to one embedding of each template.

As InsightFace's evaluation of IJB-B and IJB-C does it: the embeddings of photos are
taken as the network gives them, longer where it is surer, and may be multiplied by the
detector's scores. Those of one medium are averaged (with weights, too, the sum is
divided by the number of photos, not by that of weights), the media of a template are
added, and the sum is scaled to unit length. Nothing else is scaled.

A photo without an embedding is left out; a template whose photos all lack one has none.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64
from scipy.sparse import csr_array

from facever.errors import DataError
from facever.inference.vectors import check_directions, unit_vectors
from facever.progress import Advance, ignore_progress
from facever.verification.protocols.template_lists import TemplateList

# Photos at once: 32 MiB in float64 where an embedding has 512 numbers.
_BLOCK_LINES = 2**13


@dataclass(frozen=True)
class PooledTemplates:
    """One embedding for each template.

    Attributes:
        units: The embeddings of unit length, in the order of the list's ``ids``; zero
            for a template without any.
        present: False for templates of which no photo has an embedding.
    """

    units: Float32[np.ndarray, "templates dim"]
    present: Bool[np.ndarray, " templates"]


def pool_templates(
    embeddings: Float[np.ndarray, "images dim"],
    rows: Int64[np.ndarray, " photos"],
    listed: TemplateList,
    weights: Float64[np.ndarray, " photos"] | None = None,
    advance: Advance = ignore_progress,
) -> PooledTemplates:
    """Average the photos of each medium, and add the media of each template.

    Neither the order of lines nor the numbers of media make a difference, but for
    rounding in float64 where numbers change the order of media.

    Args:
        embeddings: One row an image, as the network gives it.
        rows: Row of the embedding of each of ``listed.photos``, -1 where it has none.
        listed: The templates.
        weights: What each photo's embedding is multiplied by, from 0; None for 1.
        advance: Called with the number of templates done since the last call.

    Raises:
        DataError: If an embedding in use is not finite or all zero, a template's
            weights are all zero, or its embeddings add up to zero.

    Examples:
        Two frames of a video and a still image:

        >>> listed = TemplateList(
        ...     photos=["a.jpg", "b.jpg", "c.jpg"],
        ...     ids=np.array([7]),
        ...     photo=np.array([0, 1, 2]),
        ...     template=np.array([0, 0, 0]),
        ...     medium=np.array([1, 1, 2]),
        ... )
        >>> embeddings = np.array([[6.0, 0.0], [0.0, 0.5], [0.0, 3.75]])
        >>> pool_templates(embeddings, np.array([0, 1, 2]), listed).units
        array([[0.6, 0.8]], dtype=float32)
    """
    order = np.lexsort((listed.photo, listed.medium, listed.template))
    order = order[rows[listed.photo[order]] >= 0]
    photo, template = listed.photo[order], listed.template[order]
    if weights is not None:
        weighs = np.bincount(template, weights[photo], len(listed.ids)) > 0
        if not weighs[template].all():
            line = int(np.argmin(weighs[template]))
            raise DataError(
                f"template {listed.ids[template[line]]}: all of its photos, such as "
                f"{listed.photos[photo[line]]}, have the score 0, so nothing is left "
                "of it; give scores above 0, or leave the photos out"
            )
    begins_template = np.diff(template, prepend=-1) != 0
    begins_medium = begins_template | (np.diff(listed.medium[order], prepend=0) != 0)
    medium = np.cumsum(begins_medium) - 1
    shares = 1 / np.bincount(medium)[medium]
    if weights is not None:
        shares *= weights[photo]
    # Lines at which templates begin, and where the last one ends.
    starts = np.append(np.flatnonzero(begins_template), len(order))
    places = template[starts[:-1]]
    units = np.zeros((len(listed.ids), embeddings.shape[1]), np.float32)
    present = np.zeros(len(listed.ids), bool)
    present[places] = True
    first = 0
    while first < len(places):
        last = int(np.searchsorted(starts, starts[first] + _BLOCK_LINES, "right")) - 1
        last = max(last, first + 1)
        block = slice(starts[first], starts[last])
        vectors = embeddings[rows[photo[block]]].astype(np.float64)
        check_directions(vectors, [listed.photos[place] for place in photo[block]])
        # A row for each template, which holds the shares of its photos.
        bounds = starts[first : last + 1] - starts[first]
        pooling = csr_array((shares[block], np.arange(len(vectors)), bounds))
        done = places[first:last]
        names = [f"template {number}" for number in listed.ids[done]]
        units[done] = unit_vectors(pooling @ vectors, names)
        advance(last - first)
        first = last
    return PooledTemplates(units, present)
