"""The HTML page of ``facever evaluate templates``."""

from collections.abc import Mapping
from html import escape

from facever.verification.identification.gallery_search import Identification
from facever.verification.identification.template_search import (
    TemplateSearch,
    tpir_interval,
)
from facever.verification.reporting.charts.curves import (
    NUM_LINE_STYLES,
    cmc_svg,
    det_svg,
    log_curve,
    rate_svg,
    score_histogram_svg,
)
from facever.verification.reporting.charts.svg import format_rate
from facever.verification.reporting.identification_page import tpir_svg
from facever.verification.reporting.markup import (
    Setting,
    hero,
    legend,
    percent,
    percent_range,
    settings_list,
    table,
    whole_page,
)
from facever.verification.reporting.sections.error_rates import error_rates_section
from facever.verification.reporting.templates_numbers import TemplatesEvaluation
from facever.verification.roc import TarAtFar
from facever.verification.template_verification import TemplateVerification

_SHOWN_RANKS = (1, 5, 10, 20)
_NUM_MISSING_SHOWN = 1000


def render_templates(
    found: TemplatesEvaluation, title: str, settings: Mapping[str, Setting]
) -> str:
    """The page of one model, as text.

    Args:
        found: The numbers.
        title: The page's title, as plain text.
        settings: What a reader needs to repeat the numbers.
    """
    parts = [_hero(found, title)]
    if found.verified is not None:
        parts.append(_pair_charts(found.verified))
        rates = {"templates": found.verified.rates}
        parts.append(error_rates_section(rates, "template", "95% interval by people"))
    if found.searched is not None:
        parts.append(_search(found.searched))
    parts += [_missing(found), settings_list(settings)]
    return whole_page(title, parts)


def _hero(found: TemplatesEvaluation, title: str) -> str:
    facts = []
    verified, searched = found.verified, found.searched
    if verified is not None:
        facts += [
            (
                f"TAR at FAR {format_rate(a.target_far)}",
                _tar(a),
                f"of pairs of one person pass where 1 in {round(1 / a.target_far):,} "
                "pairs of two does",
            )
            for a in verified.tar
            if a is not found.headline_tar
        ]
        facts += [
            (
                "AUC",
                percent(verified.auc),
                "the chance that a pair of one person scores above a pair of two",
            ),
            (
                "Equal error rate",
                percent(verified.eer),
                "of both kinds of pairs are judged wrong at one threshold",
            ),
        ]
    if searched is not None:
        facts.append(
            (
                "Found at rank 1",
                percent(float(searched.cmc[0])),
                "of mated probes, the mean of the galleries",
            )
        )
        facts += [
            (
                f"TPIR at FPIR {format_rate(target)}",
                '<span class="soft">too few probes</span>'
                if tpir is None
                else percent(tpir),
                f"of mated probes are named where 1 in {round(1 / target):,} strangers "
                "is, the mean of the galleries",
            )
            for target, tpir in searched.tpir
        ]
    facts.append(
        (
            "Templates without an embedding",
            f"{len(found.missing):,} of {len(found.listed.ids):,}",
            "are never accepted or found, and counted",
        )
    )
    return hero(title, *_headline(found), facts)


def _headline(found: TemplatesEvaluation) -> tuple[str, str]:
    """The most important number, and what it says."""
    answer = found.headline_tar
    if answer is not None and answer.tar is not None:
        assert found.verified is not None
        interval = found.verified.tar_interval(answer)
        assert interval is not None
        return f"{100 * answer.tar:.2f} %", (
            f"of {found.verified.roc.num_genuine:,} pairs of templates of one person "
            f"are accepted at a FAR of {format_rate(answer.target_far)} (95% interval "
            f"{percent_range(interval)}, pairs independent): at most 1 in "
            f"{round(1 / answer.target_far):,} pairs of two people passes."
        )
    if found.verified is not None:
        return f"{100 * found.verified.eer:.2f} %", (
            "of both kinds of pairs are judged wrong at one threshold. There are too "
            "few pairs of two people for a rate of false accepts."
        )
    assert found.searched is not None
    return f"{100 * found.searched.cmc[0]:.2f} %", (
        "of probes of enrolled people have their own person at rank 1, the mean of "
        f"{len(found.searched.searches)} galleries. A tie counts against it."
    )


def _tar(answer: TarAtFar) -> str:
    if answer.tar is None:
        note = escape(answer.note)
        return f'<span class="soft" title="{note}">too few pairs</span>'
    return percent(answer.tar)


def _pair_charts(found: TemplateVerification) -> str:
    dots = [(a.target_far, a.tar) for a in found.tar if a.tar is not None]
    roc = rate_svg(
        "ROC curve",
        {"templates": log_curve(found.roc)},
        {"templates": dots},
        ("False accept rate", "True accept rate"),
        ("FAR", "TAR"),
    )
    humps = [("hump impostor", "two people"), ("hump genuine", "one person")]
    last = found.rates.at_fmr[-1] if found.rates.at_fmr else None
    at = "" if last is None else f", threshold of FMR {format_rate(last.target_fmr)}"
    scores = score_histogram_svg(
        found.scores[found.same],
        found.scores[~found.same],
        None if last is None else last.threshold,
        "Share of the pairs of a kind",
        shares=True,
    )
    charts = [
        "<figure><h3>True accepts for a given rate of false accepts</h3>"
        f"{roc}</figure>",
        "<figure><h3>FNMR over FMR, on axes of normal deviates</h3>"
        f"{legend([('ideal', 'both alike')])}"
        f"{det_svg({'templates': found.rates.roc})}</figure>",
        f"<figure><h3>Scores of the pairs{at}</h3>{legend(humps)}{scores}</figure>",
    ]
    return f'<h2>Pairs</h2><div class="charts odd">{"".join(charts)}</div>'


def _search(found: TemplateSearch) -> str:
    searches = found.searches
    lines = [
        (f"curve model-{index % NUM_LINE_STYLES}", name)
        for index, name in enumerate(searches)
    ]
    charts = [
        "<figure><h3>Own person found up to a rank, mean of the galleries</h3>"
        f"{cmc_svg(found.cmc)}</figure>"
    ]
    if all(search.open_set is not None for search in searches.values()):
        charts.append(
            "<figure><h3>Enrolled people named, for a rate of strangers named</h3>"
            f"{legend(lines)}{tpir_svg(searches)}</figure>"
        )
    head = ["", *map(escape, searches), "Mean"]
    rows = [
        ["People", *(f"{len(search.cmc):,}" for search in searches.values()), ""],
        [
            "Mated probes",
            *(f"{len(search.mated_ranks):,}" for search in searches.values()),
            "",
        ],
        [
            "Unmated probes",
            *(f"{len(search.unmated_scores):,}" for search in searches.values()),
            "",
        ],
    ]
    rows += [
        [
            f"Found up to rank {rank}",
            *(percent(float(search.cmc[rank - 1])) for search in searches.values()),
            percent(float(found.cmc[rank - 1])),
        ]
        for rank in _SHOWN_RANKS
        if rank <= len(found.cmc)
    ]
    for place, (target, mean) in enumerate(found.tpir):
        cells = [_tpir(search, place) for search in searches.values()]
        label = f"TPIR at FPIR {format_rate(target)}, 95% interval"
        rows.append([label, *cells, "" if mean is None else percent(mean)])
    odd = " odd" if len(charts) % 2 else ""
    return (
        "<h2>Galleries</h2>"
        f"<p>{_meaning(found)}</p>"
        f'<div class="charts{odd}">{"".join(charts)}</div>'
        + table(head, rows, name="galleries")
        + '<p class="soft">Each gallery is searched for all probes; those of people '
        "who are not in it are its unmated probes. Wilson's intervals take probes for "
        "independent. The mean is of the galleries, whatever their numbers of probes."
        "</p>"
    )


def _meaning(found: TemplateSearch) -> str:
    first = round(1000 * float(found.cmc[0]))
    text = (
        f"Of 1,000 searches for somebody who is enrolled, about {first} have the right "
        "person at the top"
    )
    known = [(target, tpir) for target, tpir in found.tpir if tpir is not None]
    if known:
        target, tpir = known[-1]
        text += (
            f"; about {round(1000 * tpir)} also score above a threshold that takes at "
            f"most 1 in {round(1 / target):,} strangers for somebody"
        )
    return f"{text}."


def _tpir(search: Identification, place: int) -> str:
    answer = search.tpir[place]
    interval = tpir_interval(search, answer)
    if answer.tpir is None or interval is None:
        note = escape(answer.note)
        return f'<span class="soft" title="{note}">too few probes</span>'
    return f"{percent(answer.tpir)} ({percent_range(interval)})"


def _missing(found: TemplatesEvaluation) -> str:
    num_photos = len(found.listed.photos)
    if not found.num_missing_photos:
        return (
            f"<h2>Missing</h2><p>Nothing: all {num_photos:,} photos have an embedding."
            "</p>"
        )
    text = (
        "<h2>Missing</h2>"
        f'<p class="soft lead">{found.num_missing_photos:,} of {num_photos:,} photos '
        "have no embedding and are left out of their templates. A template of which no "
        "photo has one is never accepted or found, and counted.</p>"
    )
    if not found.missing:
        return text
    shown = found.missing[:_NUM_MISSING_SHOWN]
    items = "".join(f"<li>template {number}</li>" for number in shown)
    more = len(found.missing) - len(shown)
    items += f"<li>and {more:,} more: see templates.json</li>" * bool(more)
    return text + (
        f"<details><summary>{len(found.missing):,} templates without an embedding"
        f'</summary><ul class="missing">{items}</ul></details>'
    )
