"""Tables of what a config may say, read off pydantic models and signatures.

``{config} facever.config.training:TrainConfig`` gives the keys of a model and of those
within it; ``{options} facever.heads:HEADS`` the keyword arguments of a table's classes.
"""

import inspect
import re
import types
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib import import_module
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from docutils import nodes
from page_parts import choices, paragraphs, section, table, text
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util.docutils import SphinxDirective

_HEADS = ("Key", "Type", "Default", "Meaning")
_WIDTHS = (20, 20, 15, 45)


class ConfigKeys(SphinxDirective):
    """The keys of a pydantic model, a section for each model within it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return list(_model_sections(_named(self.arguments[0]), ""))


class TableOptions(SphinxDirective):
    """The options of each class in a table of names, a section a class."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return [
            _class_section(name, kind)
            for name, kind in _named(self.arguments[0]).items()
        ]


def _named(path: str) -> Any:
    module, name = path.split(":")
    return getattr(import_module(module), name)


def _model_sections(model: type[BaseModel], place: str) -> Iterator[nodes.section]:
    made = section(place or "At the top")
    made += paragraphs(inspect.getdoc(model) or "")
    rows, inner = [], []
    for name, field in model.model_fields.items():
        key = f"{place}.{name}" if place else name
        within = _model_in(field.annotation)
        if within is not None:
            inner.append((within, key + _step(field.annotation)))
        bounds = [word for limit in field.metadata if (word := _bound(limit))]
        rows.append(
            (
                [nodes.literal(text=key)],
                _type_nodes(field.annotation, bounds),
                _default(field),
                text(field.description or ""),
            )
        )
    made += table(_HEADS, _WIDTHS, rows)
    yield made
    for within, key in inner:
        yield from _model_sections(within, key)


def _class_section(name: str, kind: type) -> nodes.section:
    made = section(name)
    lines = (inspect.getdoc(kind) or "").split("\n")
    about = "\n".join(lines)
    before, _, _ = about.partition("\nArgs:")
    made += paragraphs(before)
    described = _argument_texts(kind)
    rows = [
        (
            [nodes.literal(text=parameter.name)],
            _type_nodes(parameter.annotation, []),
            choices([_value(parameter.default)]),
            text(described.get(parameter.name, "")),
        )
        for parameter in inspect.signature(kind).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    if rows:
        made += table(_HEADS, _WIDTHS, rows)
    source = re.search(r"References:\n((?:    .*\n?)+)", about)
    if source:
        made += nodes.paragraph("", "", nodes.emphasis(text="Source: "))
        made[-1] += text(source.group(1))
    return made


def _argument_texts(kind: type) -> dict[str, str]:
    """The entries of ``Args:`` in the docstring of the class that defines them."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if not owner.__doc__ or "Args:" not in owner.__doc__:
            continue
        lines = inspect.cleandoc(owner.__doc__)
        parsed = str(GoogleDocstring(lines, Config(napoleon_use_param=True)))
        for match in re.finditer(r":param (\w+): ((?:.|\n(?!:|\n))*)", parsed):
            found[match.group(1)] = match.group(2)
    return found


def _members(annotation: Any) -> list[Any]:
    """What a union is made of; an annotation that is none is its own member."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for part in get_args(annotation) for member in _members(part)]
    return [annotation]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for member in _members(annotation):
        for part in (member, *get_args(member)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                return part
    return None


def _step(annotation: Any) -> str:
    """What a key takes to reach a model in a list or a mapping."""
    origins = {get_origin(member) for member in _members(annotation)}
    return ".0" if tuple in origins else ".NAME" if dict in origins else ""


def _type_nodes(annotation: Any, bounds: list[str]) -> list[nodes.Node]:
    words: list[nodes.Node] = []
    for member in _members(annotation):
        if words:
            words.append(nodes.Text(" or "))
        words += _member_nodes(member)
    if bounds:
        words.append(nodes.Text(" " + ", ".join(bounds)))
    return words


def _member_nodes(member: Any) -> list[nodes.Node]:
    if get_origin(member) is Literal:
        return choices(get_args(member))
    if get_origin(member) is Annotated:
        bounds = [word for limit in member.__metadata__ if (word := _bound(limit))]
        if not bounds:
            inner = [part for m in member.__metadata__ for part in m.metadata]
            bounds = [word for limit in inner if (word := _bound(limit))]
        return _type_nodes(get_args(member)[0], bounds)
    if get_origin(member) is tuple:
        inner = [part for part in get_args(member) if part is not Ellipsis]
        words: list[nodes.Node] = [nodes.Text("list of ")]
        if Ellipsis not in get_args(member):
            words = [nodes.Text(f"{len(inner)} of ")]
        return words + _type_nodes(inner[0], [])
    if get_origin(member) is dict:
        return [nodes.Text("mapping")]
    if member is type(None):
        return [nodes.literal(text="null")]
    if isinstance(member, type) and issubclass(member, BaseModel):
        return [nodes.Text("keys, see below")]
    if is_dataclass(member):
        keys = inspect.signature(member).parameters  # type: ignore[arg-type]
        return [nodes.Text("keys "), *choices(keys)]
    names = {"str": "text", "bool": "true or false", "Path": "path"}
    name = getattr(member, "__name__", str(member))
    return [nodes.Text(names.get(name, name))]


def _bound(limit: Any) -> str:
    for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        value = getattr(limit, name, None)
        if value is not None:
            shown = "2^63" if value == 2**63 else f"{value:g}"
            return f"{sign} {shown}"
    return ""


def _default(field: Any) -> list[nodes.Node]:
    if field.is_required():
        return [nodes.emphasis(text="required")]
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined or isinstance(default, BaseModel):
        return []
    if isinstance(default, tuple) and any(isinstance(x, BaseModel) for x in default):
        return choices(f"[{item.name}]" for item in default)
    return choices([_value(default)])


def _value(default: Any) -> str:
    """A default as YAML has it."""
    if default is None:
        return "null"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return f"[{', '.join(_value(item) for item in default)}]"
    if is_dataclass(default):
        keys = vars(default).items()
        return "{" + ", ".join(f"{key}: {_value(item)}" for key, item in keys) + "}"
    return str(default)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("config", ConfigKeys)
    app.add_directive("options", TableOptions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
