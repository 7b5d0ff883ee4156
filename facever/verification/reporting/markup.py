"""Pieces of HTML that the pages share: tables, legends, the frame of a page."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template

from facever.verification.uncertainty.intervals import Interval
from facever.version import __version__

Setting = str | int | float | None


def percent(share: float) -> str:
    """A share as a percentage with two decimals."""
    return f"{100 * share:.2f} %"


def percent_range(interval: Interval) -> str:
    """An interval of a share as percentages."""
    return f"{100 * interval.low:.2f} to {100 * interval.high:.2f} %"


def swatch(style: str) -> str:
    """A short stroke in the CSS class of a curve."""
    return (
        '<svg class="swatch" viewBox="0 0 26 10" aria-hidden="true">'
        f'<path class="{style}" d="M0,5L26,5"/></svg>'
    )


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """A list of swatches; an entry is a CSS class and a text."""
    items = "".join(f"<li>{swatch(s)}{escape(text)}</li>" for s, text in entries)
    return f'<ul class="legend">{items}</ul>'


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    classes: Sequence[str] | None = None,
    name: str = "",
    total: bool = False,
) -> str:
    """A table of ready HTML; the first cell of a row is its heading."""
    classes = classes or [""] * len(head)
    headings = "".join(
        f'<th class="{css}" scope="col">{text}</th>'
        for text, css in zip(head, classes, strict=True)
    )
    body = []
    for index, row in enumerate(rows):
        cells = "".join(
            f'<td class="{css}">{cell}</td>'
            for cell, css in zip(row[1:], classes[1:], strict=True)
        )
        last = ' class="total"' if total and index == len(rows) - 1 else ""
        first = _kept_together(row[0])
        body.append(f'<tr{last}><th scope="row">{first}</th>{cells}</tr>')
    return (
        f'<div class="wide"><table class="{name}"><thead><tr>{headings}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _kept_together(html: str) -> str:
    """Text in which no line begins with a percent sign."""
    return html.replace(" %", "\N{NO-BREAK SPACE}%")


def hero(
    title: str, headline: str, text: str, facts: Sequence[tuple[str, str, str]]
) -> str:
    """The top of a page: its most important number, and some others.

    Args:
        title: The page's title, as plain text.
        headline: The number, as ready HTML.
        text: What the number says, as ready HTML.
        facts: Name, value and meaning of the other numbers, as ready HTML.
    """
    items = "".join(
        f"<div><dt>{_kept_together(what)}</dt><dd>{value}</dd>"
        f"<dd class='means'>{means}</dd></div>"
        for what, value, means in facts
    )
    return (
        f"<header><h1>{escape(title)}</h1></header>"
        f'<div class="hero"><div class="headline">{headline}</div><p>{text}</p></div>'
        f'<dl class="facts">{items}</dl>'
    )


def settings_list(settings: Mapping[str, Setting]) -> str:
    """The section of settings; underscores in their names are shown as spaces."""
    items = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt>"
        f"<dd>{'none' if value is None else escape(str(value))}</dd>"
        for name, value in settings.items()
    )
    return f'<h2>Settings</h2><dl class="settings">{items}</dl>'


def whole_page(title: str, parts: Sequence[str]) -> str:
    """A page made of ready parts; it needs no other file."""
    template = (
        resources.files("facever.verification.reporting") / "report_template.html"
    )
    return Template(template.read_text(encoding="utf-8")).substitute(
        title=escape(title), body="\n".join(parts), version=escape(__version__)
    )
