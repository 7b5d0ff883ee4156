"""The directive ``{commands}``: every command of ``facever``, read off typer."""

from collections.abc import Iterator
from typing import Any

import typer
from docutils import nodes
from page_parts import choices, paragraphs, section, table, text
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from facever.cli import app as facever_app


class Commands(SphinxDirective):
    """A section for each command, and one within it for each command of a group."""

    def run(self) -> list[nodes.Node]:
        root = typer.main.get_command(facever_app)
        return [self._command(root, "facever", is_root=True), *self._members(root)]

    def _members(self, group: Any, above: str = "facever") -> Iterator[nodes.section]:
        for name, command in group.commands.items():
            yield self._command(command, f"{above} {name}")

    def _command(self, command: Any, path: str, is_root: bool = False) -> nodes.section:
        made = section(path)
        made += paragraphs(command.help or "")
        context = command.make_context(path, [], resilient_parsing=True)
        usage = " ".join([path, *_usage(command)])
        made += nodes.literal_block(usage, usage, language="text")
        if command.params:
            rows = [_row(parameter, context) for parameter in command.params]
            made += table(
                ("Argument or option", "Default", "Meaning"), (30, 15, 55), rows
            )
        if not is_root and hasattr(command, "commands"):
            made += list(self._members(command, path))
        return made


def _usage(command: Any) -> Iterator[str]:
    yield "[OPTIONS]"
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            name = parameter.name.upper()
            name += "..." if parameter.nargs == -1 else ""
            yield name if parameter.required else f"[{name}]"
    if hasattr(command, "commands"):
        yield "COMMAND ..."


def _row(parameter: Any, context: Any) -> tuple[list[nodes.Node], ...]:
    is_option = parameter.param_type_name == "option"
    names = (
        [*parameter.opts, *parameter.secondary_opts]
        if is_option
        else [parameter.name.upper()]
    )
    first = choices(names)
    kind = parameter.display_type(context).strip("<>")
    if is_option and not parameter.is_flag:
        first += [nodes.Text(" "), nodes.inline(text=kind, classes=["kind"])]
    return first, _default(parameter), text(parameter.help or "")


def _default(parameter: Any) -> list[nodes.Node]:
    if parameter.required:
        return [nodes.emphasis(text="required")]
    default = parameter.default
    if getattr(parameter, "is_flag", False):
        if not parameter.secondary_opts:
            return []
        names = parameter.opts if default else parameter.secondary_opts
        return choices(names)
    return [] if default is None or default == () else choices([default])


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
