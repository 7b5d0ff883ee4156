"""The HTML page of a small-image experiment: one file that needs nothing else."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from facever.small_images.runs import MEASURES, CellRun
from facever.tables.rows import CellResults, text_table, trained_with
from facever.verification.reporting.markup import table, whole_page


@dataclass(frozen=True)
class PageFigure:
    """A figure of the page.

    Attributes:
        title: The heading above the figure.
        caption: What the figure shows.
        png: The content of the PNG file.
    """

    title: str
    caption: str
    png: bytes


def render_small_image_page(
    title: str,
    paper: str,
    chosen: Sequence[str],
    cells: Sequence[CellResults[CellRun]],
    figures: Sequence[PageFigure],
) -> str:
    """The page as text: the table, the figures and what the recipe chose."""
    shown = text_table(cells, MEASURES)
    rows = [[escape(text) for text in row] for row in shown.rows]
    parts = [
        f"<header><h1>{escape(title)}</h1></header>",
        f'<p class="soft">{escape(paper)}. Errors in percent on the test set, of the '
        "last step of each run; ± is the standard deviation over seeds, the angles are "
        f"radians. {trained_with(cells)}</p>",
        table(shown.columns, rows),
    ]
    parts += [_figure(figure) for figure in figures]
    if chosen:
        items = "".join(f"<li>{escape(line)}</li>" for line in chosen)
        parts.append(f"<h2>What the recipe chose</h2><ul>{items}</ul>")
    return whole_page(title, parts)


def _figure(figure: PageFigure) -> str:
    data = base64.b64encode(figure.png).decode()
    title = escape(figure.title)
    return (
        f'<h2>{title}</h2><p class="soft lead">{escape(figure.caption)}</p>'
        '<figure style="overflow-x:auto">'
        f'<img src="data:image/png;base64,{data}" alt="{title}" '
        'style="display:block;width:100%;min-width:560px;height:auto"></figure>'
    )
