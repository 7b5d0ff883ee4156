"""YAML files with ``key=value`` overrides become checked configs.

An unknown key is an error that lists the valid ones.
"""

from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from facever.errors import ConfigError, FileError
from facever.foreign_files import read_text

# Values in a config, those of an alias counted wherever it stands. A few lines of
# aliases of aliases are more than any memory holds, once they are written out.
_MOST_VALUES = 10_000

_Config = TypeVar("_Config", bound=BaseModel)


def load_config(
    kind: type[_Config], path: Path | None, overrides: list[str] | None = None
) -> _Config:
    """Read a YAML file and apply ``key=value`` overrides, dots for nested keys.

    Args:
        kind: The config class.
        path: The YAML file; None starts from the defaults.
        overrides: Such as ``network.width=0.5`` or ``heads.0.margin=0.3``; values are
            YAML.

    Returns:
        The checked config.

    Raises:
        FileError: If the file is missing.
        ConfigError: If it is not YAML, has an unknown key, a value out of range, or
            over 10,000 values.
    """
    content: Any = {}
    if path is not None:
        try:
            content = yaml.safe_load(read_text(path)) or {}
        except OSError as error:
            raise FileError(
                f"cannot read config {path}: {error.strerror}; configs/ has examples"
            ) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"config {path} is not YAML: {reason}") from None
        if not isinstance(content, dict):
            raise ConfigError(f"config {path} must hold keys and values")
    for override in overrides or []:
        _apply(content, override)
    _check_size(content, path)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        where = f"config {path}" if path else "config"
        raise ConfigError(explain(kind, error, where)) from None


def _check_size(content: Any, path: Path | None) -> None:
    to_count = [content]
    num_values = 0
    while to_count:
        value = to_count.pop()
        num_values += 1
        if num_values > _MOST_VALUES:
            where = f"config {path}" if path else "config"
            raise ConfigError(
                f"{where} holds over {_MOST_VALUES} values, aliases written out: write "
                "what the keys need without aliases of aliases"
            )
        if isinstance(value, dict):
            to_count += value.values()
        elif isinstance(value, list):
            to_count += value


def _apply(content: Any, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"an override is key=value, got {override!r}")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(f"override {override!r}: the value is not YAML") from None
    set_key(content, key, value, f"override {override!r}")


def set_key(content: Any, key: str, value: Any, where: str) -> None:
    """Set a key within nested mappings and lists; mappings on the way are made.

    Args:
        content: The outermost mapping, which is changed in place.
        key: Keys and indexes with dots between, such as ``heads.0.margin``.
        value: The new value.
        where: What asks for it, the beginning of the message.

    Raises:
        ConfigError: If an index is none of its list, or a plain value is on the way.
    """
    *parents, last = key.split(".")
    place = content
    for step in parents:
        place = _descend(place, step, where)
    if isinstance(place, list):
        place[_index(place, last, where)] = value
    else:
        place[last] = value


def _descend(place: Any, step: str, where: str) -> Any:
    if isinstance(place, list):
        inner = place[_index(place, step, where)]
    else:
        inner = place.setdefault(step, {})
    if not isinstance(inner, dict | list):
        raise ConfigError(f"{where}: {step!r} holds no further keys")
    return inner


def _index(items: list[Any], step: str, where: str) -> int:
    if not step.isdecimal() or int(step) >= len(items):
        raise ConfigError(f"{where}: {step!r} must be an index in [0, {len(items)})")
    return int(step)


def explain(kind: type[BaseModel], error: ValidationError, where: str) -> str:
    """The first problem in one line.

    Args:
        kind: The config class that was validated.
        error: What pydantic found.
        where: What was validated, the beginning of the line.
    """
    first = error.errors()[0]
    place = ".".join(str(step) for step in first["loc"])
    if first["type"] == "extra_forbidden":
        valid = ", ".join(_keys_at(kind, first["loc"][:-1]))
        return f"{where}: unknown key {place}; valid keys there: {valid}"
    if first["type"] == "value_error":  # Our own words, which name the value.
        return f"{where}: {place or 'as a whole'}: {first['ctx']['error']}"
    if first["type"] == "missing":
        return f"{where}: {place} is missing"
    if first["type"] == "tuple_type":
        return f"{where}: {place}: must be a list, [...], got {first['input']!r}"
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{where}: {place}: {message}, got {first['input']!r}"


def _keys_at(kind: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    for step in place:
        field = kind.model_fields.get(str(step))
        if field is None:  # An index, or a key of a mapping.
            continue
        annotation: Any = field.annotation
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            kind = annotation
    return list(kind.model_fields)
