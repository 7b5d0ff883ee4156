"""How commands show what stages give back: as text, or with ``--json`` as JSON."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from facever.results import Result, as_json

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in place of text.")]


def shows_result(command: Callable[..., Result]) -> Callable[..., None]:
    """A command that prints the result of a function, which gains ``--json``.

    typer reads options off the signature, so the new one has the function's parameters
    and one more. A result that is a failure is shown before its error is raised.
    """

    @wraps(command)
    def shown(*arguments: Any, wants_json: bool, **options: Any) -> None:
        result = command(*arguments, **options)
        text = as_json(result.to_dict()) if wants_json else str(result)
        typer.echo(text.encode(errors="backslashreplace").decode())
        if error := result.failure():
            raise error

    json_option = inspect.Parameter(
        "wants_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=AsJson
    )
    own = inspect.signature(command)
    signature = own.replace(
        parameters=[*own.parameters.values(), json_option], return_annotation=None
    )
    shown.__signature__ = signature  # type: ignore[attr-defined]
    shown.__annotations__ = {**command.__annotations__, "wants_json": AsJson}
    return shown
