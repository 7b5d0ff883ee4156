"""``facever gallery``: enroll people, and ask who is on a photo."""

from pathlib import Path
from typing import Annotated

import typer

from facever.choices import By, IndexKind
from facever.cli.options import AsJson

gallery_app = typer.Typer(
    help="Enroll people, and ask who is on a photo.", no_args_is_help=True
)

# Not a path: that would make one slash of a URL's two.
_Gallery = Annotated[
    str,
    typer.Argument(help="The gallery's folder, or qdrant+http://HOST:PORT/COLLECTION"),
]
_Folder = Annotated[Path, typer.Argument(help="The gallery's folder")]
_Model = Annotated[
    Path | None, typer.Option(help="model.safetensors; an .npz needs none")
]
_Ids = Annotated[list[str] | None, typer.Argument(help="Ids, from list --photos")]
_Names = Annotated[list[str] | None, typer.Option("--name", help="These people alone")]
_Fields = Annotated[
    list[str] | None, typer.Option("--field", help="key=value; may be given again")
]


@gallery_app.command("create")
def gallery_create(
    gallery: _Gallery,
    model: Annotated[Path | None, typer.Option(help="model.safetensors")] = None,
    embedding_size: Annotated[
        int | None, typer.Option(help="Without a model: numbers in an embedding")
    ] = None,
    index: Annotated[
        IndexKind,
        typer.Option(help="What to search with; auto goes by the size"),
    ] = "exact",
) -> None:
    """Make an empty gallery."""
    from facever.stages.gallery import enroll as stages

    stages.create(gallery, model, embedding_size, index)


@gallery_app.command("add")
def gallery_add(
    gallery: _Gallery,
    photos: Annotated[
        Path,
        typer.Argument(
            help="A photo, identity folders, a crop store or an .npz of embeddings"
        ),
    ],
    model: _Model = None,
    name: Annotated[
        str | None, typer.Option(help="Whose they are; a single photo needs it")
    ] = None,
    fields: _Fields = None,
) -> None:
    """Enroll faces; the gallery is made if it is not there yet."""
    from facever.stages.gallery import enroll as stages

    stages.add(gallery, model, photos, name, fields or ())


@gallery_app.command("search")
def gallery_search(
    gallery: _Gallery,
    photo: Annotated[
        Path,
        typer.Argument(
            help="Its largest face is looked up; or photos, a crop store, an .npz"
        ),
    ],
    model: _Model = None,
    k: Annotated[int, typer.Option("--top", "-k", help="Matches to show")] = 5,
    by: Annotated[
        By,
        typer.Option(help="Photos, or people by the best or mean of their photos"),
    ] = "photo",
    names: _Names = None,
    fields: _Fields = None,
    as_json: AsJson = False,
) -> None:
    """Who in the gallery resembles the face on a photo."""
    from facever.stages.gallery import search as stages

    stages.search(gallery, model, photo, k, as_json, by, names or (), fields or ())


@gallery_app.command("serve")
def gallery_serve(
    gallery: _Folder,
    model: Annotated[
        Path, typer.Option(help="model.safetensors, the one of the gallery")
    ],
    host: Annotated[
        str, typer.Option(help="Other machines reach any but loopback, with a token")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any that is free")] = 8000,
    write: Annotated[
        bool, typer.Option("--write", help="Let people be enrolled and removed")
    ] = False,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="FACEVER_TOKEN", help="In place of one that is made up and printed"
        ),
    ] = None,
) -> None:
    """A local web page: who is on a photo, do two photos show one person?"""
    from facever.stages.gallery import serve as stages

    stages.serve(gallery, model, host, port, write, token)


@gallery_app.command("remove")
def gallery_remove(
    gallery: _Gallery,
    ids: _Ids = None,
    name: Annotated[str | None, typer.Option(help="All photos of this person")] = None,
) -> None:
    """Take photos, or a person, out of the gallery."""
    from facever.stages.gallery import upkeep as stages

    stages.remove(gallery, ids or (), name)


@gallery_app.command("update")
def gallery_update(
    gallery: _Gallery,
    ids: _Ids = None,
    name: Annotated[str | None, typer.Option(help="All photos of this person")] = None,
    new_name: Annotated[str | None, typer.Option(help="Whose they are now")] = None,
    fields: _Fields = None,
) -> None:
    """Rename photos or a person, or set fields; key=null takes one away."""
    from facever.stages.gallery import upkeep as stages

    stages.update(gallery, ids or (), name, new_name, fields or ())


@gallery_app.command("list")
def gallery_list(
    gallery: _Gallery,
    photos: Annotated[
        bool, typer.Option("--photos", help="Photos with their ids, not people")
    ] = False,
    names: _Names = None,
    fields: _Fields = None,
    as_json: AsJson = False,
) -> None:
    """Everybody in the gallery, and how many photos of each."""
    from facever.stages.gallery import upkeep as stages

    if photos or names or fields:
        stages.list_photos(gallery, names or (), fields or (), as_json)
    else:
        stages.list_people(gallery, as_json)


@gallery_app.command("info")
def gallery_info(
    gallery: _Gallery,
    audit: Annotated[
        bool, typer.Option("--audit", help="Compare the index with exact search")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What the gallery holds, and the model it was made with."""
    from facever.stages.gallery import upkeep as stages

    stages.info(gallery, as_json, audit)


@gallery_app.command("verify")
def gallery_verify(gallery: _Gallery) -> None:
    """Read everything and check that nothing is damaged."""
    from facever.stages.gallery import upkeep as stages

    stages.verify(gallery)


@gallery_app.command("export")
def gallery_export(
    gallery: _Gallery,
    out: Annotated[
        Path, typer.Argument(help="A .parquet file, or a folder for CSV and npy")
    ],
) -> None:
    """Write names, fields and embeddings to files that any tool can open."""
    from facever.stages.gallery import upkeep as stages

    stages.export(gallery, out)


@gallery_app.command("import")
def gallery_import(
    path: Annotated[Path, typer.Argument(help="What gallery export wrote")],
    gallery: _Gallery,
) -> None:
    """Take in what gallery export wrote, ids and all."""
    from facever.stages.gallery import upkeep as stages

    stages.import_entries(path, gallery)


@gallery_app.command("calibrate")
def gallery_calibrate(
    gallery: _Gallery,
    far: Annotated[
        float | None, typer.Option(help="False accept rate over pairs, such as 1e-3")
    ] = None,
    fpir: Annotated[
        float | None,
        typer.Option(help="Share of unknown people taken for somebody, such as 1e-2"),
    ] = None,
    num_shown: Annotated[
        int, typer.Option("--top", help="Similar pairs of different names to show")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """Set the threshold below which search answers nobody."""
    from facever.stages.gallery import threshold as stages

    stages.calibrate(gallery, far, fpir, num_shown, as_json)


@gallery_app.command("migrate")
def gallery_migrate(
    gallery: _Folder,
    model: Annotated[Path, typer.Option(help="The model file to go over to")],
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Remove faces that are gone")
    ] = False,
) -> None:
    """Go over to another model: embed all faces anew, from where they came from."""
    from facever.stages.gallery import migrate as stages

    stages.migrate(gallery, model, drop_missing)


@gallery_app.command("rebuild")
def gallery_rebuild(
    gallery: _Folder,
    index: Annotated[
        IndexKind | None,
        typer.Option(help="Search with this kind from now on"),
    ] = None,
) -> None:
    """Build the index anew from the stored embeddings, of another kind if asked for."""
    from facever.stages.gallery import upkeep as stages

    stages.rebuild(gallery, index)
