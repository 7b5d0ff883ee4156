"""Docstrings as this project writes them: types stand in the signature alone."""

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring


def _returns(
    self: GoogleDocstring, preprocess_types: bool = False
) -> list[tuple[str, str, list[str]]]:
    """What ``Returns:`` says; a word before a colon is no type."""
    return [("", "", self._dedent(self._consume_to_next_section()))]


def _keep_bars(
    app: Sphinx, kind: str, name: str, documented: object, options: object, lines: Any
) -> None:
    """Show ``|f|`` as it stands: in docstrings it is a length, no substitution."""
    for number, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
        lines[number] = "``".join(parts)


def _shorten_signature(
    app: Sphinx,
    kind: str,
    name: str,
    documented: object,
    options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Leave the modules of types out where autodoc cannot: beside jaxtyping's."""
    return _without_modules(signature), _without_modules(returned)


def _without_modules(signature: str | None) -> str | None:
    return signature and re.sub(r"~?\b(?:\w+\.)+(?=[A-Z]\w*\b)", "", signature)


def setup(app: Sphinx) -> dict[str, Any]:
    GoogleDocstring._consume_returns_section = _returns  # type: ignore[method-assign]
    app.connect("autodoc-process-docstring", _keep_bars)
    app.connect("autodoc-process-signature", _shorten_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
