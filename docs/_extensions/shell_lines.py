"""Commands without colours but for their comments.

A lexer for the shell paints ``test``, ``export`` and numbers, which mean nothing here.
"""

from typing import Any, ClassVar

from pygments.lexer import RegexLexer
from pygments.token import Comment, Text
from sphinx.application import Sphinx


class ShellLines(RegexLexer):
    """Takes ``#`` behind a space for the beginning of a comment."""

    tokens: ClassVar[dict[str, list[Any]]] = {
        "root": [(r"(?<!\S)#.*", Comment), (r"\S+|\s+", Text)]
    }


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_lexer("sh", ShellLines)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
