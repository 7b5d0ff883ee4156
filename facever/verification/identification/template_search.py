"""Templates in several galleries: IJB-B's and IJB-C's 1:N protocol.

The people are divided among the galleries. Each gallery is searched by itself for all
probes, so that those of the other galleries' people are its unmated probes. Published
are the means over the galleries, whatever their numbers of probes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from facever.errors import DataError
from facever.verification.identification.gallery_search import (
    TARGET_FPIRS,
    Identification,
    TpirAtFpir,
    evaluate_identification,
)
from facever.verification.protocols.identity_list import IdentityList
from facever.verification.protocols.template_lists import TemplateList
from facever.verification.protocols.template_pooling import PooledTemplates
from facever.verification.uncertainty.intervals import Interval, wilson


@dataclass(frozen=True)
class TemplateSearch:
    """What the searches in all galleries say.

    Attributes:
        searches: The numbers of each gallery, by its name.
    """

    searches: dict[str, Identification]

    @property
    def cmc(self) -> Float64[np.ndarray, " ranks"]:
        """Mean over the galleries, up to the number of people in the smallest."""
        curves = [found.cmc for found in self.searches.values()]
        length = min(map(len, curves))
        mean: Float64[np.ndarray, " ranks"] = np.mean(
            [curve[:length] for curve in curves], axis=0
        )
        return mean

    @property
    def tpir(self) -> list[tuple[float, float | None]]:
        """Each target FPIR, and the mean TPIR over the galleries.

        The mean is None where a gallery has no TPIR.
        """
        found = []
        of_galleries = [search.tpir for search in self.searches.values()]
        for answers in zip(*of_galleries, strict=True):
            rates = [answer.tpir for answer in answers if answer.tpir is not None]
            whole = len(rates) == len(answers)
            mean = float(np.mean(rates)) if whole else None
            found.append((answers[0].target_fpir, mean))
        return found


def tpir_interval(found: Identification, answer: TpirAtFpir) -> Interval | None:
    """Wilson's interval of a TPIR, which takes probes for independent."""
    if answer.tpir is None:
        return None
    num_mated = len(found.mated_ranks)
    return wilson(round(answer.tpir * num_mated), num_mated)


def check_searches(galleries: dict[str, IdentityList], probes: IdentityList) -> None:
    """Refuse galleries and probes that cannot be searched, before the long work.

    Raises:
        DataError: If a template is in a gallery and among the probes, or none of the
            probes is of somebody in a gallery.
    """
    searched, people = set(probes.images), set(probes.identities)
    for name, gallery in galleries.items():
        both = [template for template in gallery.images if template in searched]
        if both:
            raise DataError(
                f"{len(both):,} templates are in the gallery {name} and among the "
                f"probes, such as {both[0]}; a template found by itself says nothing"
            )
        if people.isdisjoint(gallery.identities):
            raise DataError(
                f"none of the probes is of somebody in the gallery {name}, such as "
                f"{gallery.identities[0]}; compare the subjects of both files"
            )


def search_templates(
    pooled: PooledTemplates,
    listed: TemplateList,
    galleries: dict[str, IdentityList],
    probes: IdentityList,
    target_fpirs: Sequence[float] = TARGET_FPIRS,
) -> TemplateSearch:
    """Search each gallery of templates for all probes.

    Args:
        pooled: The templates.
        listed: Their list.
        galleries: The numbers of the enrolled templates and who is in each, by the name
            of the gallery.
        probes: The numbers of the templates to search for, and who is in each.
        target_fpirs: False positive identification rates in (0, 1].

    Raises:
        DataError: In the same cases as ``check_searches`` and
            ``evaluate_identification``.
    """
    check_searches(galleries, probes)
    numbers = listed.ids[pooled.present].astype(str).tolist()
    units = pooled.units[pooled.present]
    return TemplateSearch(
        {
            name: evaluate_identification(units, numbers, gallery, probes, target_fpirs)
            for name, gallery in galleries.items()
        }
    )
