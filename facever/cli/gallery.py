"""``facever gallery``: enroll people, and ask who is on a photo."""

from pathlib import Path
from typing import Annotated

import typer

from facever.cli.options import AsJson

gallery_app = typer.Typer(
    help="Enroll people, and ask who is on a photo.", no_args_is_help=True
)


@gallery_app.command("add")
def gallery_add(
    gallery: Annotated[Path, typer.Argument(help="The gallery's folder")],
    photos: Annotated[
        Path, typer.Argument(help="A photo, identity folders or a crop store")
    ],
    model: Annotated[Path, typer.Option(help="model.safetensors")],
    name: Annotated[
        str | None, typer.Option(help="Whose they are; a single photo needs it")
    ] = None,
) -> None:
    """Enroll photos or crops; the gallery is made if it is not there yet."""
    from facever.stages import gallery as stages

    stages.add(gallery, model, photos, name)


@gallery_app.command("search")
def gallery_search(
    gallery: Annotated[Path, typer.Argument(help="The gallery's folder")],
    photo: Annotated[Path, typer.Argument(help="Its largest face is looked up")],
    model: Annotated[Path, typer.Option(help="model.safetensors")],
    k: Annotated[int, typer.Option("--top", "-k", help="Matches to show")] = 5,
    as_json: AsJson = False,
) -> None:
    """Who in the gallery resembles the face on a photo."""
    from facever.stages import gallery as stages

    stages.search(gallery, model, photo, k, as_json)


@gallery_app.command("list")
def gallery_list(
    gallery: Annotated[Path, typer.Argument(help="The gallery's folder")],
    as_json: AsJson = False,
) -> None:
    """Everybody in the gallery, and how many photos of each."""
    from facever.stages import gallery as stages

    stages.list_people(gallery, as_json)


@gallery_app.command("info")
def gallery_info(
    gallery: Annotated[Path, typer.Argument(help="The gallery's folder")],
    as_json: AsJson = False,
) -> None:
    """What the gallery holds, and the model it was made with."""
    from facever.stages import gallery as stages

    stages.info(gallery, as_json)
