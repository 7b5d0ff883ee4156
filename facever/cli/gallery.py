"""``facever gallery``: enroll people, and ask who is on a photo."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from facever.choices import (
    DEFAULT_FACE,
    DEFAULT_MAX_PIXELS,
    DEFAULT_MODEL,
    By,
    FaceRule,
    FolderIndexKind,
    OneFace,
    PostgresIndexKind,
)
from facever.cli.options import (
    Array,
    BackendOption,
    FramesOption,
    IdentityOption,
    KeptDetectorOption,
    MaxPixels,
    MinQuality,
)
from facever.cli.showing import AsJson, shows_result
from facever.results import Result, as_json

gallery_app = typer.Typer(
    help="Enroll people, and ask who is on a photo.", no_args_is_help=True
)

# Not a path: that would make one slash of a URL's two.
_Gallery = Annotated[
    str,
    typer.Argument(
        help="Folder of the gallery, or postgresql://USER@HOST/DATABASE?gallery=NAME, "
        "or qdrant+http://HOST:PORT/COLLECTION (experimental)."
    ),
]
_Model = Annotated[
    str | None,
    typer.Option(
        help="The model file, or a ready model; sface by default. An .npz needs none."
    ),
]
_Ids = Annotated[
    list[str] | None,
    typer.Argument(help="Ids of photos, as gallery list --photos shows them."),
]
_Names = Annotated[
    list[str] | None,
    typer.Option("--name", help="Only this person. May be given several times."),
]
_WithFields = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        help="Only photos with this field, key=value. May be given several times.",
    ),
]

# Which kinds there are is the back end's to say, whose message names no others.
_INDEXES = (
    f"In a folder: {', '.join(get_args(FolderIndexKind))}; auto chooses by the size. "
    f"In PostgreSQL: {', '.join(get_args(PostgresIndexKind))}."
)


@gallery_app.command("create")
@shows_result
def gallery_create(
    gallery: _Gallery,
    model: Annotated[
        str | None,
        typer.Option(help="The model whose embeddings it will hold."),
    ] = None,
    embedding_size: Annotated[
        int | None,
        typer.Option(help="Number of values in an embedding, without a model file."),
    ] = None,
    index: Annotated[
        str, typer.Option(help=f"Index to search with. {_INDEXES}")
    ] = "exact",
) -> Result:
    """Make an empty gallery."""
    from facever.stages.gallery.enroll import create

    return create(gallery, model=model, embedding_size=embedding_size, index=index)


@gallery_app.command("add")
@shows_result
def gallery_add(
    gallery: _Gallery,
    photos: Annotated[
        Path,
        typer.Argument(
            help="Any source of photos that facever align takes, a crop store, or an "
            ".npz of embeddings."
        ),
    ],
    model: _Model = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="The person on the photos; a single photo or video needs it."
        ),
    ] = None,
    identity: IdentityOption = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            help="A field of these photos, key=value. May be given several times.",
        ),
    ] = None,
    face: Annotated[
        OneFace,
        typer.Option(help="Which face to enroll of a photo that has several."),
    ] = DEFAULT_FACE,
    replaces: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Embed photos again whose file has changed since they were enrolled.",
        ),
    ] = False,
    detector: KeptDetectorOption = None,
    frames: FramesOption = "all",
    array: Array = None,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    backend: BackendOption = "auto",
) -> Result:
    """Enroll faces; the gallery is made if it does not exist yet."""
    from facever.stages.gallery.enroll import add

    return add(
        gallery,
        model,
        photos,
        name=name,
        identity=identity,
        fields=fields or (),
        detector=detector,
        max_pixels=max_pixels,
        backend=backend,
        face=face,
        replaces=replaces,
        array=array,
        frames=frames,
    )


@gallery_app.command("search")
@shows_result
def gallery_search(
    gallery: _Gallery,
    photo: Annotated[
        Path,
        typer.Argument(
            help="A photo or many: any source that "
            "facever align takes, a crop store, or an .npz of embeddings."
        ),
    ],
    model: _Model = None,
    k: Annotated[
        int, typer.Option("--top", "-k", help="Number of matches to show.")
    ] = 5,
    by: Annotated[
        By,
        typer.Option(
            help="Whether each photo is a match, or each person by the best or the "
            "mean of their photos."
        ),
    ] = "photo",
    names: _Names = None,
    fields: _WithFields = None,
    face: Annotated[
        FaceRule,
        typer.Option(
            help="Which face to look up of a photo that has several; all answers for "
            "everybody on it."
        ),
    ] = DEFAULT_FACE,
    detector: KeptDetectorOption = None,
    frames: FramesOption = "all",
    array: Array = None,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    backend: BackendOption = "auto",
) -> Result:
    """Show who in the gallery resembles the face on a photo."""
    from facever.stages.gallery.search import search

    return search(
        gallery,
        model,
        photo,
        k=k,
        by=by,
        names=names or (),
        fields=fields or (),
        detector=detector,
        max_pixels=max_pixels,
        backend=backend,
        face=face,
        array=array,
        frames=frames,
    )


@gallery_app.command("serve")
def gallery_serve(
    gallery: _Gallery,
    model: Annotated[
        str,
        typer.Option(help="The model file, or a ready model; the gallery's."),
    ] = DEFAULT_MODEL,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen at. Any but loopback serves other machines, too, "
            "which must send a token."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen at; 0 for any that is free.")
    ] = 8000,
    write: Annotated[
        bool, typer.Option("--write", help="Let people be enrolled and removed.")
    ] = False,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="FACEVER_TOKEN",
            help="The token that requests must send; by default one is made up.",
        ),
    ] = None,
    max_pixels: Annotated[
        int,
        typer.Option(
            help="Height times width of the largest photo that is taken; its file may "
            "have 25 MB."
        ),
    ] = DEFAULT_MAX_PIXELS,
    min_quality: MinQuality = None,
    backend: BackendOption = "auto",
    wants_json: AsJson = False,
) -> None:
    """Serve a web page: who is on a photo, do two photos show one person?

    What is printed when the server is ready says where it is, and the token.
    """
    from facever.faces.quality import parse_min_quality
    from facever.stages.gallery.serve import serve

    stopped = serve(
        gallery,
        model,
        host=host,
        port=port,
        write=write,
        token=token,
        max_pixels=max_pixels,
        min_quality=parse_min_quality(min_quality or ()),
        backend=backend,
        when_ready=lambda ready: typer.echo(
            as_json(ready.to_dict()) if wants_json else str(ready)
        ),
    )
    if not wants_json:
        typer.echo(str(stopped))


@gallery_app.command("remove")
@shows_result
def gallery_remove(
    gallery: _Gallery,
    ids: _Ids = None,
    name: Annotated[
        str | None, typer.Option(help="In place of ids: all photos of this person.")
    ] = None,
) -> Result:
    """Remove photos, or a person, from the gallery."""
    from facever.stages.gallery.upkeep import remove

    return remove(gallery, ids or (), name=name)


@gallery_app.command("update")
@shows_result
def gallery_update(
    gallery: _Gallery,
    ids: _Ids = None,
    name: Annotated[
        str | None, typer.Option(help="In place of ids: all photos of this person.")
    ] = None,
    new_name: Annotated[
        str | None, typer.Option(help="The name that they get.")
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            help="A field to set, key=value; key=null removes it. May be given several "
            "times.",
        ),
    ] = None,
) -> Result:
    """Rename photos or a person, or change their fields."""
    from facever.stages.gallery.upkeep import update

    return update(gallery, ids or (), name=name, new_name=new_name, fields=fields or ())


@gallery_app.command("list")
@shows_result
def gallery_list(
    gallery: _Gallery,
    photos: Annotated[
        bool, typer.Option("--photos", help="List photos with their ids, not people.")
    ] = False,
    names: _Names = None,
    fields: _WithFields = None,
) -> Result:
    """List the people in the gallery, and how many photos of each there are."""
    from facever.stages.gallery import upkeep

    if photos or names or fields:
        return upkeep.list_entries(gallery, names=names or (), fields=fields or ())
    return upkeep.list_people(gallery)


@gallery_app.command("info")
@shows_result
def gallery_info(
    gallery: _Gallery,
    audit: Annotated[
        bool,
        typer.Option("--audit", help="Also compare the index with exact search."),
    ] = False,
) -> Result:
    """Show what the gallery holds, and the model it was made for."""
    from facever.stages.gallery.upkeep import info

    return info(gallery, audit=audit)


@gallery_app.command("verify")
@shows_result
def gallery_verify(gallery: _Gallery) -> Result:
    """Read everything and check that nothing is damaged."""
    from facever.stages.gallery.upkeep import verify

    return verify(gallery)


@gallery_app.command("export")
@shows_result
def gallery_export(
    gallery: _Gallery,
    out: Annotated[
        Path, typer.Argument(help="A .parquet file, or a folder for CSV and npy.")
    ],
) -> Result:
    """Write names, fields and embeddings to files that any tool can open."""
    from facever.stages.gallery.exchange import export

    return export(gallery, out)


@gallery_app.command("import")
@shows_result
def gallery_import(
    path: Annotated[Path, typer.Argument(help="What gallery export wrote.")],
    gallery: _Gallery,
) -> Result:
    """Import what gallery export wrote, with the same ids."""
    from facever.stages.gallery.exchange import import_entries

    return import_entries(path, gallery)


@gallery_app.command("threshold")
@shows_result
def gallery_threshold(
    gallery: _Gallery,
    far: Annotated[
        float | None,
        typer.Option(help="False accept rate over pairs to allow, such as 1e-3."),
    ] = None,
    fpir: Annotated[
        float | None,
        typer.Option(
            help="Share of unknown people to allow to be taken for somebody, such as "
            "1e-2."
        ),
    ] = None,
    num_shown: Annotated[
        int,
        typer.Option(
            "--top", help="Number of similar pairs of different names to show."
        ),
    ] = 20,
) -> Result:
    """Set the threshold on the cosine: a search answers "nobody" up to it.

    Give either --fpir or --far.
    """
    from facever.stages.gallery.threshold import choose_threshold

    return choose_threshold(gallery, far=far, fpir=fpir, num_shown=num_shown)


@gallery_app.command("migrate")
@shows_result
def gallery_migrate(
    gallery: _Gallery,
    model: Annotated[str, typer.Option(help="The model to change over to.")],
    drop_missing: Annotated[
        bool,
        typer.Option(
            "--drop-missing", help="Remove faces whose photo or crop is gone."
        ),
    ] = False,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    backend: BackendOption = "auto",
) -> Result:
    """Change over to another model: embed all faces again, from their photos."""
    from facever.stages.gallery.migrate import migrate

    return migrate(
        gallery,
        model,
        drop_missing=drop_missing,
        max_pixels=max_pixels,
        backend=backend,
    )


@gallery_app.command("rebuild")
@shows_result
def gallery_rebuild(
    gallery: _Gallery,
    index: Annotated[
        str | None,
        typer.Option(help=f"Index to search with from now on. {_INDEXES}"),
    ] = None,
) -> Result:
    """Build the index again from the stored embeddings."""
    from facever.stages.gallery.upkeep import rebuild

    return rebuild(gallery, index=index)
