"""The HTML pages of ``facever evaluate identify`` and ``blufr``."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from facever.verification.identification.blufr import (
    TARGET_FAR,
    TARGET_FPIR,
    BlufrEvaluation,
)
from facever.verification.identification.gallery_search import (
    Identification,
    TpirAtFpir,
)
from facever.verification.protocols.identity_list import IdentityList
from facever.verification.reporting.charts.curves import (
    cmc_svg,
    log_curve,
    rate_svg,
    score_histogram_svg,
)
from facever.verification.reporting.charts.svg import format_rate
from facever.verification.reporting.markup import (
    Setting,
    hero,
    legend,
    percent,
    settings_list,
    table,
    whole_page,
)
from facever.verification.reporting.sections.worst_errors import (
    NO_PICTURES,
    CropOf,
    error_card,
    error_cards,
)

NUM_WORST = 12
_SHOWN_RANKS = (5, 10, 20)


def render_identification(
    found: Identification,
    gallery: IdentityList,
    probes: IdentityList,
    settings: Mapping[str, Setting],
    crop_of: CropOf | None,
) -> str:
    """The page of one model, as text.

    Args:
        found: The numbers.
        gallery: The list of enrolled photos that they were found with.
        probes: The list of probes that they were found with.
        settings: What a reader needs to repeat the numbers.
        crop_of: Gives the picture of a source, or None if it has none; without it the
            errors are listed by name.
    """
    title = f"Identification, {len(probes):,} probes among {len(found.cmc):,} people"
    num_mated = len(found.mated_ranks)
    num_first = int(np.count_nonzero(found.mated_ranks == 1))
    facts = [
        *(
            (
                f"Found up to rank {rank}",
                percent(float(found.cmc[rank - 1])),
                f"of mated probes have their person among the first {rank}",
            )
            for rank in _SHOWN_RANKS
            if rank <= len(found.cmc)
        ),
        *(
            (
                f"TPIR at FPIR {format_rate(a.target_fpir)}",
                _tpir(a),
                f"of mated probes are named where 1 in {round(1 / a.target_fpir):,} "
                "strangers is",
            )
            for a in found.tpir
        ),
        (
            "Unmated probes",
            f"{len(found.unmated_scores):,}",
            "show people who are not in the gallery",
        ),
        (
            "Failure to enrol",
            f"{len(found.missing_gallery):,} of {len(gallery):,}",
            "photos of the gallery gave no embedding",
        ),
        (
            "Failure to acquire",
            f"{len(found.missing_probes):,} of {len(probes):,}",
            "probes gave no embedding and are taken for nobody",
        ),
    ]
    text = (
        f"{num_first:,} of {num_mated:,} probes of enrolled people have their own "
        "person at rank 1. A tie counts against it."
    )
    parts = [
        hero(title, f"{100 * found.cmc[0]:.2f} %", text, facts),
        _charts(found),
        "<h2>Worst errors</h2>" + NO_PICTURES * (crop_of is None),
        _others_first(found, gallery, probes, crop_of),
        _strangers(found, gallery, probes, crop_of),
        _missing({"gallery": found.missing_gallery, "probes": found.missing_probes}),
        settings_list(settings),
    ]
    return whole_page(title, parts)


def render_blufr(found: BlufrEvaluation, settings: Mapping[str, Setting]) -> str:
    """The page of BLUFR's trials, as text."""
    title = f"BLUFR on LFW, {len(found.results)} trials"
    far, fpir = format_rate(TARGET_FAR), format_rate(TARGET_FPIR)
    rates = found.verification_rates, found.identification_rates
    facts = [
        (
            f"Identified at FPIR {fpir}",
            percent(found.reported_identification),
            "of probes at rank 1: mean minus standard deviation",
        ),
        (
            f"Mean accepted at FAR {far}",
            percent(float(rates[0].mean())),
            "of pairs of one person, over the trials",
        ),
        (
            f"Mean identified at FPIR {fpir}",
            percent(float(rates[1].mean())),
            "of probes at rank 1, over the trials",
        ),
    ]
    text = (
        f"of the pairs of one person are accepted at FAR {far}: mean minus standard "
        f"deviation over the trials, as BLUFR reports it. {escape(found.origin)}."
    )
    rows = [
        [
            str(number),
            *(f"{100 * rate:.2f} %" for rate in trial_rates),
            f"{result.verification.threshold:.4f}",
            f"{result.identification.threshold:.4f}",
        ]
        for number, (*trial_rates, result) in enumerate(
            zip(*rates, found.results, strict=True), start=1
        )
    ]
    for name, summary in (
        ("Mean", [each.mean() for each in rates]),
        ("Deviation", [each.std(ddof=1) for each in rates]),
    ):
        rows.append([name, *(f"{100 * value:.2f} %" for value in summary), "", ""])
    head = [
        "Trial", f"Accepted at FAR {far}", f"Rank 1 at FPIR {fpir}", "Threshold of FAR",
        "Threshold of FPIR",
    ]  # fmt: skip
    parts = [
        hero(title, f"{100 * found.reported_verification:.2f} %", text, facts),
        "<h2>Trials</h2>" + table(head, rows, name="trials"),
        _missing({"test photos": found.missing}),
        settings_list(settings),
    ]
    return whole_page(title, parts)


def _charts(found: Identification) -> str:
    charts = [
        f"<figure><h3>Own person found up to a rank</h3>{cmc_svg(found.cmc)}</figure>"
    ]
    answers = [answer for answer in found.tpir if answer.tpir is not None]
    if found.open_set is not None:
        charts.append(
            "<figure><h3>Enrolled people named, for a rate of strangers named</h3>"
            f"{tpir_svg({'rank 1': found})}</figure>"
        )
    humps = [("hump impostor", "strangers, highest"), ("hump genuine", "own person")]
    threshold, at = None, ""
    if answers:
        threshold = answers[-1].threshold
        at = f", threshold of FPIR {format_rate(answers[-1].target_fpir)}"
    charts.append(
        f"<figure><h3>Scores of the probes{at}</h3>{legend(humps)}"
        + score_histogram_svg(
            found.mated_scores, found.unmated_scores, threshold, "Probes"
        )
        + "</figure>"
    )
    odd = " odd" if len(charts) % 2 else ""
    return f'<h2>Curves</h2><div class="charts{odd}">{"".join(charts)}</div>'


def tpir_svg(searches: Mapping[str, Identification]) -> str:
    """TPIR over FPIR of searches with unmated probes, by their names."""
    curves, dots = {}, {}
    for name, found in searches.items():
        assert found.open_set is not None
        far, tar = log_curve(found.open_set)
        if np.isneginf(found.open_set.thresholds[-1]):
            # Whoever is not at rank 1 is named at no threshold.
            far, tar = far[:-1], tar[:-1]
        curves[name] = far, tar
        dots[name] = [(a.target_fpir, a.tpir) for a in found.tpir if a.tpir is not None]
    return rate_svg(
        "TPIR over FPIR",
        curves,
        dots,
        ("False positive identification rate", "True positive identification rate"),
        ("FPIR", "TPIR"),
    )


def _others_first(
    found: Identification,
    gallery: IdentityList,
    probes: IdentityList,
    crop_of: CropOf | None,
) -> str:
    """Probes of enrolled people that are taken for somebody else, worst rank first."""
    places = np.flatnonzero(found.mated)
    seen = np.isfinite(found.nearest_scores[places])
    wrong = np.flatnonzero((found.mated_ranks > 1) & seen)
    order = np.lexsort((found.mated_scores[wrong], -found.mated_ranks[wrong]))
    cards = []
    for index in wrong[order][:NUM_WORST].tolist():
        place, own = places[index], found.mated_scores[index]
        sources = probes.images[place], gallery.images[found.nearest[place]]
        nearest = found.nearest_scores[place]
        rank = f"own {own:.3f}, rank {found.mated_ranks[index]:,}"
        unfindable = "own photos missing"
        cards.append(
            error_card(
                "reject",
                sources,
                crop_of,
                f"score <b>{nearest:.3f}</b>",
                rank if np.isfinite(own) else unfindable,
            )
        )
    return error_cards(
        "Somebody else first: the probe, and whom it was taken for", cards, len(wrong)
    )


def _strangers(
    found: Identification,
    gallery: IdentityList,
    probes: IdentityList,
    crop_of: CropOf | None,
) -> str:
    """Probes of people who are not enrolled, the most similar to somebody first."""
    places = np.flatnonzero(~found.mated & np.isfinite(found.nearest_scores))
    order = np.argsort(-found.nearest_scores[places], kind="stable")
    cards = [
        error_card(
            "accept",
            (probes.images[place], gallery.images[found.nearest[place]]),
            crop_of,
            f"score <b>{found.nearest_scores[place]:.3f}</b>",
            "not enrolled",
        )
        for place in places[order][:NUM_WORST].tolist()
    ]
    return error_cards(
        "Strangers most like somebody: the probe, and the nearest photo",
        cards,
        len(places),
    )


def _missing(photos: Mapping[str, Sequence[str]]) -> str:
    if not any(photos.values()):
        return "<h2>Missing</h2><p>Nothing: every photo has an embedding.</p>"
    parts = [
        "<h2>Missing</h2>",
        '<p class="soft lead">A missing probe of an enrolled person is a miss at every '
        "rank and threshold; a missing stranger is no false alarm, and counted.</p>",
    ]
    for where, missing in photos.items():
        if missing:
            items = "".join(f"<li>{escape(source)}</li>" for source in missing)
            parts.append(
                f"<details><summary>{len(missing):,} {where} without an embedding"
                f'</summary><ul class="missing">{items}</ul></details>'
            )
    return "".join(parts)


def _tpir(answer: TpirAtFpir) -> str:
    if answer.tpir is None:
        note = escape(answer.note)
        return f'<span class="soft" title="{note}">too few probes</span>'
    return f"{100 * answer.tpir:.2f} %"
