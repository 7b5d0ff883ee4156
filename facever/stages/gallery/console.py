"""Tables and JSON on the console, for ``facever gallery``."""

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text under column names; a table without names has no header."""
    table = Table(show_header=any(columns))
    for column in columns:
        right = column in ("", "cosine", "photos") and len(columns) > 2
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    # Names are what people typed: they are not markup.
    Console(markup=False, highlight=False).print(table)


def print_json(content: object) -> None:
    """Print JSON that a person can read, too."""
    print(json.dumps(content, ensure_ascii=False, indent=2))
