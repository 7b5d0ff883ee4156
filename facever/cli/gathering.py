"""Options that several commands share and that become one object, spelled once."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def gathers(
    name: str, make: Callable[..., Any]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that puts several options in the place of one parameter.

    typer reads options off the signature, so the command gets those of ``make`` where
    the function has the parameter; the function gets what ``make`` returns for them.

    Args:
        name: The parameter.
        make: Takes the options by keyword and returns the parameter's value.
    """
    options = inspect.signature(make).parameters

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def gathered(**given: Any) -> Any:
            value = make(**{option: given.pop(option) for option in options})
            return command(**given, **{name: value})

        signature = inspect.signature(command)
        parameters: list[inspect.Parameter] = []
        for parameter in signature.parameters.values():
            parameters += options.values() if parameter.name == name else [parameter]
        parameters = [each.replace(kind=_KEYWORD) for each in parameters]
        gathered.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=parameters
        )
        gathered.__annotations__ = {
            parameter.name: parameter.annotation for parameter in parameters
        }
        return gathered

    return decorate
