"""Figures as files: the same bytes for the same numbers."""

import io
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from facever.files import whole_file


def save_figure(figure: Figure, path: Path) -> bytes:
    """Write a figure as PNG and SVG.

    Args:
        figure: The figure.
        path: The name of both files, without a suffix; dots in it stay.

    Returns:
        The content of the PNG file.
    """
    png = io.BytesIO()
    figure.savefig(png, format="png")
    with whole_file(path.with_name(f"{path.name}.png")) as temporary:
        temporary.write_bytes(png.getvalue())
    with (
        rc_context({"svg.hashsalt": "facever"}),
        whole_file(path.with_name(f"{path.name}.svg")) as temporary,
    ):
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    return png.getvalue()
