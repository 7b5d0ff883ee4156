"""What ``facever evaluate templates`` finds, and its numbers in ``templates.json``."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from facever.verification.identification.gallery_search import TpirAtFpir
from facever.verification.identification.template_search import (
    TemplateSearch,
    tpir_interval,
)
from facever.verification.protocols.template_lists import TemplateList
from facever.verification.protocols.template_pooling import PooledTemplates
from facever.verification.reporting.markup import Setting
from facever.verification.reporting.report_json import error_rate_numbers, roc_numbers
from facever.verification.roc import TarAtFar
from facever.verification.template_verification import TemplateVerification
from facever.verification.uncertainty.intervals import Interval

# The rate at which IJB-B and IJB-C are compared.
_HEADLINE_FAR = 1e-4


@dataclass(frozen=True)
class TemplatesEvaluation:
    """All that is known of a model on templates.

    Attributes:
        listed: The templates.
        pooled: Their embeddings.
        num_missing_photos: Number of the list's photos without an embedding.
        verified: What the pairs say; None without pairs.
        searched: What the galleries say; None without galleries.
    """

    listed: TemplateList
    pooled: PooledTemplates
    num_missing_photos: int
    verified: TemplateVerification | None
    searched: TemplateSearch | None

    @property
    def missing(self) -> list[int]:
        """Numbers of the templates of which no photo has an embedding."""
        missing: list[int] = self.listed.ids[~self.pooled.present].tolist()
        return missing

    @property
    def headline_tar(self) -> TarAtFar | None:
        """TAR at a FAR of 1e-4, or at the smallest above that the pairs can show."""
        if self.verified is None:
            return None
        answers = [
            answer
            for answer in self.verified.tar
            if answer.tar is not None and answer.target_far >= _HEADLINE_FAR
        ]
        return answers[-1] if answers else None


def templates_numbers(
    found: TemplatesEvaluation, settings: Mapping[str, Setting]
) -> dict[str, Any]:
    """Every number, in the plain types that ``templates.json`` holds."""
    return {
        "settings": dict(settings),
        "templates": {
            "num_templates": len(found.listed.ids),
            "num_media": found.listed.num_media,
            "num_photos": len(found.listed.photos),
            "num_missing_photos": found.num_missing_photos,
            "missing": found.missing,
        },
        "verification": _verification_numbers(found.verified),
        "identification": _identification_numbers(found.searched),
    }


def _verification_numbers(found: TemplateVerification | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "num_pairs": len(found.same),
        "num_genuine": found.roc.num_genuine,
        "num_impostor": found.roc.num_impostor,
        "num_missing_pairs": found.num_missing_pairs,
        "num_people": found.rates.num_identities,
        "auc": found.auc,
        "eer": found.eer,
        "tar_at_far": [_answer(a, found.tar_interval(a)) for a in found.tar],
        "error_rates": error_rate_numbers(found.rates, "clustered"),
        "roc": roc_numbers(found.roc),
    }


def _identification_numbers(found: TemplateSearch | None) -> dict[str, Any] | None:
    if found is None:
        return None
    galleries = [
        {
            "gallery": name,
            "num_identities": len(search.cmc),
            "num_mated_probes": len(search.mated_ranks),
            "num_unmated_probes": len(search.unmated_scores),
            "cmc": search.cmc.tolist(),
            "tpir_at_fpir": [_answer(a, tpir_interval(search, a)) for a in search.tpir],
            "missing_gallery": list(map(int, search.missing_gallery)),
            "missing_probes": list(map(int, search.missing_probes)),
        }
        for name, search in found.searches.items()
    ]
    return {
        "galleries": galleries,
        "mean": {
            "cmc": found.cmc.tolist(),
            "tpir_at_fpir": [
                {"target_fpir": target, "tpir": tpir} for target, tpir in found.tpir
            ],
        },
    }


def _answer(answer: TarAtFar | TpirAtFpir, wilson: Interval | None) -> dict[str, Any]:
    ends = None if wilson is None else [wilson.low, wilson.high]
    return {**asdict(answer), "wilson": ends}
