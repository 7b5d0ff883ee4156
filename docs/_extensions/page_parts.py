"""What the generated pages share: sections, tables, and text with literals."""

import re
from collections.abc import Iterable

from docutils import nodes


def section(title: str) -> nodes.section:
    """A section whose anchor is its title, such as ``facever-gallery-add``."""
    name = nodes.make_id(title)
    made = nodes.section(ids=[name], names=[name])
    made += nodes.title(text=title)
    return made


def text(content: str) -> list[nodes.Node]:
    """Words with ``literals`` between double backticks."""
    parts = re.split(r"``(.+?)``", " ".join(content.split()))
    return [
        nodes.literal(text=part) if number % 2 else nodes.Text(part)
        for number, part in enumerate(parts)
        if part
    ]


def paragraphs(content: str) -> list[nodes.paragraph]:
    """A paragraph for each block of a docstring or help text."""
    blocks = re.split(r"\n\s*\n", content.strip())
    return [nodes.paragraph("", "", *text(block)) for block in blocks if block]


def choices(values: Iterable[object]) -> list[nodes.Node]:
    """Values in literals, with commas between them."""
    parts: list[nodes.Node] = []
    for value in values:
        parts += [nodes.Text(", "), nodes.literal(text=str(value))]
    return parts[1:]


def table(
    heads: tuple[str, ...],
    widths: tuple[int, ...],
    rows: Iterable[tuple[list[nodes.Node], ...]],
) -> nodes.table:
    """A table of cells that hold inline nodes."""
    group = nodes.tgroup(cols=len(heads))
    group += [nodes.colspec(colwidth=width) for width in widths]
    body = nodes.tbody()
    body += [_row(row) for row in rows]
    group += [
        nodes.thead("", _row(tuple([nodes.Text(head)] for head in heads))),
        body,
    ]
    return nodes.table("", group, classes=["options"])


def _row(cells: tuple[list[nodes.Node], ...]) -> nodes.row:
    entries = [nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells]
    return nodes.row("", *entries)
