"""Small pieces of HTML that several parts of the page share."""

from collections.abc import Sequence
from html import escape


def swatch(style: str) -> str:
    """A short stroke in the CSS class of a curve."""
    return (
        '<svg class="swatch" viewBox="0 0 26 10" aria-hidden="true">'
        f'<path class="{style}" d="M0,5L26,5"/></svg>'
    )


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """A list of swatches; an entry is the CSS class and the text."""
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
        body.append(f'<tr{last}><th scope="row">{row[0]}</th>{cells}</tr>')
    return (
        f'<div class="wide"><table class="{name}"><thead><tr>{headings}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
