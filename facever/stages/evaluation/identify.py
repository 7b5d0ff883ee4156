"""``facever evaluate identify`` and ``blufr``: who is it, among many or nobody?"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facever.choices import DEFAULT_FACE
from facever.csv_tables import write_csv
from facever.errors import ParameterError
from facever.files import whole_file
from facever.progress import progress_bar
from facever.results import Result, plain
from facever.stages.evaluation.features import (
    Inputs,
    all_sources,
    find_features,
    sha256,
)
from facever.stages.evaluation.report_folder import check_report_folder
from facever.verification.identification.blufr import BlufrEvaluation, evaluate_blufr
from facever.verification.identification.gallery_search import (
    Identification,
    evaluate_identification,
)
from facever.verification.protocols.blufr_trials import (
    draw_blufr_trials,
    read_blufr_trials,
)
from facever.verification.protocols.identity_list import (
    IdentityList,
    read_identity_list,
)
from facever.verification.reporting.charts.documents import save_cmc
from facever.verification.reporting.identification_page import (
    render_blufr,
    render_identification,
)
from facever.verification.reporting.markup import Setting

NUMBERS_FILE = "identification.json"
PICTURE_FILE = "cmc.png"
PROBES_FILE = "probes.csv"
PAGE_FILE = "report.html"
BLUFR_FILE = "blufr.json"
PROBE_COLUMNS = (
    "image", "identity", "enrolled", "rank", "own_score", "nearest_image",
    "nearest_identity", "nearest_score",
)  # fmt: skip
_SHOWN_RANKS = (1, 5, 10, 20)


@dataclass(frozen=True)
class IdentificationReport(Result):
    """What the search for probes in a gallery found, and where its report is.

    Attributes:
        found: All numbers.
        notes: How photos were found, a line each.
        page: The report's page; the other files lie beside it.
    """

    found: Identification
    notes: tuple[str, ...]
    page: Path

    def lines(self) -> list[str]:
        """The CMC at some ranks, each TPIR, what is missing, and the report."""
        found = self.found
        ranks = [rank for rank in _SHOWN_RANKS if rank <= len(found.cmc)]
        num_missing = len(found.missing_gallery), len(found.missing_probes)
        missing = f"missing: {num_missing[0]} gallery photos, {num_missing[1]} probes"
        return [
            f"{len(found.mated_ranks):,} mated probes, {len(found.cmc):,} people: "
            + ", ".join(f"rank {rank} {found.cmc[rank - 1]:.2%}" for rank in ranks),
            *(
                f"TPIR at FPIR {answer.target_fpir:g}: "
                + (answer.note if answer.tpir is None else f"{answer.tpir:.2%}")
                for answer in found.tpir
            ),
            *[missing] * any(num_missing),
            *self.notes,
            f"report: {self.page}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """The numbers, named as in ``identification.json``, and the report's path."""
        numbers: dict[str, Any] = plain(
            {
                **_identification_numbers(self.found),
                "notes": self.notes,
                "report": self.page,
            }
        )
        return numbers


@dataclass(frozen=True)
class BlufrReport(Result):
    """What BLUFR found, and where its report is.

    Attributes:
        found: All numbers.
        notes: How photos were found, a line each.
        page: The report's page; the other file lies beside it.
    """

    found: BlufrEvaluation
    notes: tuple[str, ...]
    page: Path

    def lines(self) -> list[str]:
        """Both reported rates, what is missing, and the report."""
        found = self.found
        missing = f"missing: {len(found.missing)} photos"
        return [
            f"BLUFR ({found.origin}): verification rate at FAR 0.1 % "
            f"{found.reported_verification:.2%}, rank-1 identification rate at FPIR "
            f"1 % {found.reported_identification:.2%} (mean minus standard deviation)",
            *[missing] * bool(found.missing),
            *self.notes,
            f"report: {self.page}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """The numbers, named as in ``blufr.json``, and the report's path."""
        numbers: dict[str, Any] = plain(
            {
                **_blufr_numbers(self.found),
                "notes": self.notes,
                "report": self.page,
            }
        )
        return numbers


def identify(
    out: str | Path, gallery: str | Path, probes: str | Path, inputs: Inputs
) -> IdentificationReport:
    """Search a gallery for every probe: CMC, and TPIR at FPIR over unknown people.

    Args:
        out: Folder that gets ``report.html``, ``identification.json``, ``probes.csv``
            with a row for each probe, and ``cmc.png``.
        gallery: CSV file ``image,identity`` of the enrolled photos.
        probes: CSV file ``image,identity`` of the photos to search for; people who are
            not in the gallery are the unmated probes.
        inputs: What to take embeddings from.

    Returns:
        All numbers.

    Raises:
        FaceverError: If an input is missing, damaged or does not fit the others.
    """
    out, gallery, probes = Path(out), Path(gallery), Path(probes)
    inputs.check()
    check_report_folder(out)
    enrolled, searched = read_identity_list(gallery), read_identity_list(probes)
    named = [*dict.fromkeys([*enrolled.images, *searched.images])]
    features = find_features(inputs, named, out, face=DEFAULT_FACE)
    found = evaluate_identification(
        features.embeddings, features.images, enrolled, searched
    )
    settings: dict[str, Setting] = {
        "gallery": str(gallery),
        "gallery_sha256": sha256(gallery),
        "probes": str(probes),
        "probes_sha256": sha256(probes),
        **features.settings,
    }
    _write(out / NUMBERS_FILE, {**settings, **_identification_numbers(found)})
    _write_probes(out / PROBES_FILE, found, enrolled, searched)
    with whole_file(out / PICTURE_FILE) as temporary:
        save_cmc(temporary, found.cmc)
    page = render_identification(found, enrolled, searched, settings, features.crop_of)
    with whole_file(out / PAGE_FILE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return IdentificationReport(found, features.notes, out / PAGE_FILE)


def blufr(
    out: str | Path,
    inputs: Inputs,
    trials: str | Path | None = None,
    *,
    seed: int = 0,
) -> BlufrReport:
    """Evaluate BLUFR on LFW: ten trials over all pairs of their test photos.

    Args:
        out: Folder that gets ``report.html`` and ``blufr.json``.
        inputs: What to take embeddings from; all of its photos are LFW's, and their
            folders the people.
        trials: The official ``blufr_lfw_config.mat``; without it trials of the
            published sizes are drawn, whose numbers cannot be compared with published
            ones.
        seed: Seed of the draw of trials, from 0.

    Returns:
        All numbers.

    Raises:
        ParameterError: If ``seed`` is below 0.
        FaceverError: If an input is missing, damaged or does not fit the others.
    """
    out = Path(out)
    inputs.check()
    if seed < 0:
        raise ParameterError(f"seed must be at least 0, got {seed}")
    check_report_folder(out)
    images = all_sources(inputs)
    people = [image.rpartition("/")[0] for image in images]
    chosen = (
        read_blufr_trials(Path(trials))
        if trials
        else draw_blufr_trials(IdentityList(images, people), seed)
    )
    features = find_features(inputs, images, out, face="center")
    with progress_bar("compare", len(chosen.trials), "trials") as advance:
        found = evaluate_blufr(features.embeddings, features.images, chosen, advance)
    numbers = _blufr_numbers(found)
    settings = {"trials": numbers.pop("trials"), **features.settings}
    _write(out / BLUFR_FILE, {**settings, **numbers})
    page = render_blufr(found, settings)
    with whole_file(out / PAGE_FILE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return BlufrReport(found, features.notes, out / PAGE_FILE)


def _identification_numbers(found: Identification) -> dict[str, Any]:
    return {
        "num_identities": len(found.cmc),
        "num_mated_probes": len(found.mated_ranks),
        "num_unmated_probes": len(found.unmated_scores),
        "cmc": found.cmc.tolist(),
        "tpir_at_fpir": [asdict(answer) for answer in found.tpir],
        "missing_gallery": found.missing_gallery,
        "missing_probes": found.missing_probes,
    }


def _blufr_numbers(found: BlufrEvaluation) -> dict[str, Any]:
    return {
        "trials": found.origin,
        "verification_rate_at_far_0.001": found.reported_verification,
        "identification_rate_at_fpir_0.01": found.reported_identification,
        "verification_rates": found.verification_rates.tolist(),
        "identification_rates": found.identification_rates.tolist(),
        "rule": "mean minus standard deviation over the trials",
        "missing": found.missing,
    }


def _write_probes(
    path: Path, found: Identification, gallery: IdentityList, probes: IdentityList
) -> None:
    """Write a row for each probe, in the order of the list.

    Fields that a missing photo has no value for stay empty.
    """
    ranks, own = iter(found.mated_ranks.tolist()), iter(found.mated_scores.tolist())
    rows: list[Sequence[object]] = []
    for image, identity, mated, nearest, score in zip(
        probes.images,
        probes.identities,
        found.mated.tolist(),
        found.nearest.tolist(),
        found.nearest_scores.tolist(),
        strict=True,
    ):
        rank, own_score = (next(ranks), next(own)) if mated else (None, -math.inf)
        named = gallery.images[nearest], gallery.identities[nearest], score
        rows.append(
            (
                image,
                identity,
                int(mated),
                rank,
                own_score if math.isfinite(own_score) else None,
                *(named if nearest >= 0 else (None, None, None)),
            )
        )
    with whole_file(path) as temporary:
        write_csv(temporary, PROBE_COLUMNS, rows, for_people=True)


def _write(path: Path, numbers: dict[str, Any]) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
