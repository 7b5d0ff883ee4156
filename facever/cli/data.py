"""``facever data``: look at crop stores, check, join, divide, clean and export them."""

from pathlib import Path
from typing import Annotated

import typer

from facever.choices import ExportForm
from facever.cli.options import Array, BackendOption, Device
from facever.cli.showing import shows_result
from facever.results import Result

data_app = typer.Typer(
    help="Look at crop stores, check, join, divide, clean and export them.",
    no_args_is_help=True,
)

Store = Annotated[Path, typer.Argument(help="A crop store.")]
NewStore = Annotated[Path, typer.Argument(help="Folder of the new crop store.")]
Seed = Annotated[int, typer.Option(help="Seed of what is drawn at random.")]


@data_app.command("info")
@shows_result
def data_info(
    store: Store,
    sheet: Annotated[
        Path | None,
        typer.Option(
            help="PNG to write, with the mean image and crops drawn at random."
        ),
    ] = None,
    seed: Seed = 0,
) -> Result:
    """Show what a store holds: counts, settings, photos without a crop and why."""
    from facever.stages.store.facts import describe_store

    return describe_store(store, sheet=sheet, seed=seed)


@data_app.command("verify")
@shows_result
def data_verify(store: Store) -> Result:
    """Compare a store with its checksums.

    If something is damaged, lists all of it and ends with exit code 2.
    """
    from facever.stages.store.facts import verify_store

    return verify_store(store)


@data_app.command("merge")
@shows_result
def data_merge(
    stores: Annotated[
        list[Path], typer.Argument(help="Crop stores; shards in their order.")
    ],
    out: Annotated[Path, typer.Option(help="A new folder, or a store to append to.")],
) -> Result:
    """Join stores that were made with the same settings.

    The shards of one alignment, in their order, give the store of a single run.
    """
    from facever.stages.store.changes import merge_stores

    return merge_stores(stores, out)


@data_app.command("subset")
@shows_result
def data_subset(
    store: Store,
    out: NewStore,
    identities: Annotated[
        Path | None,
        typer.Option(help="File with the identities to take, one a line."),
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(
            help="File with identities, photos or sources to leave out, one a line."
        ),
    ] = None,
    min_photos: Annotated[
        int,
        typer.Option(help="Leave out identities that have fewer crops than this."),
    ] = 1,
    sample: Annotated[
        int | None,
        typer.Option(help="Take this number of the remaining identities, at random."),
    ] = None,
    seed: Seed = 0,
) -> Result:
    """Copy chosen crops to a new store.

    The options apply one after the other, in the order below. The new store's
    left_out.csv lists every other crop with the reason.
    """
    from facever.stages.store.changes import subset_store

    return subset_store(
        store,
        out,
        identities=identities,
        exclude=exclude,
        min_photos=min_photos,
        sample=sample,
        seed=seed,
    )


@data_app.command("split")
@shows_result
def data_split(
    store: Store,
    first: Annotated[
        Path, typer.Argument(help="Folder of the new store of the share.")
    ],
    second: Annotated[
        Path, typer.Argument(help="Folder of the new store of all other identities.")
    ],
    share: Annotated[
        float,
        typer.Option(help="Share of the identities that goes to the first store."),
    ] = 0.9,
    seed: Seed = 0,
) -> Result:
    """Copy a store to two, by identity: nobody is in both."""
    from facever.stages.store.changes import split_store

    return split_store(store, first, second, share=share, seed=seed)


@data_app.command("compress")
@shows_result
def data_compress(
    store: Store,
    out: NewStore,
    quality: Annotated[int, typer.Option(help="JPEG quality, from 1 to 100.")] = 95,
) -> Result:
    """Copy a store to one of JPEGs, for sets that do not fit as pixels."""
    from facever.stages.store.changes import compress_store

    return compress_store(store, out, quality=quality)


@data_app.command("export")
@shows_result
def data_export(
    store: Store,
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    to: Annotated[
        ExportForm,
        typer.Option(
            help="Identity folders, webdataset's tar shards or InsightFace's .rec."
        ),
    ],
    quality: Annotated[
        int | None,
        typer.Option(help="JPEG quality, from 1 to 100, in place of lossless PNG."),
    ] = None,
    shard_size: Annotated[
        int, typer.Option(help="Number of crops in a tar shard.")
    ] = 10_000,
) -> Result:
    """Export all crops; the same store gives the same bytes."""
    from facever.stages.store.export import export_store

    return export_store(store, out, to=to, quality=quality, shard_size=shard_size)


@data_app.command("clean")
@shows_result
def data_clean(
    store: Store,
    out: Annotated[
        Path, typer.Argument(help="Folder of the lists and their contact sheets.")
    ],
    model: Annotated[
        Path | None, typer.Option(help="The model file that embeds the crops.")
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="An .npz from facever embed, in place of a model."),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(help="Crop store of a test set whose people should not be here."),
    ] = None,
    test_embeddings: Annotated[
        Path | None,
        typer.Option(help="An .npz of the test set, in place of a model."),
    ] = None,
    duplicate: Annotated[
        float, typer.Option(help="Photos above this cosine are near-duplicates.")
    ] = 0.95,
    outlier_far: Annotated[
        float,
        typer.Option(
            help="A photo is an outlier unless it is closer to its identity than all "
            "but this share of photos are to another."
        ),
    ] = 1e-3,
    alike_far: Annotated[
        float,
        typer.Option(
            help="Two identities are alike if they are closer than all but this share "
            "of photos are to another identity."
        ),
    ] = 1e-5,
    array: Array = None,
    device: Device = "auto",
    backend: BackendOption = "auto",
    apply: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a new crop store: write what the lists in OUT leave, as "
            "they are now."
        ),
    ] = None,
) -> Result:
    """List what looks wrong: doubles, outliers, look-alikes, people of a test set.

    Nothing is removed: edit the first column of the lists, then run it again with
    --apply NEW_STORE.
    """
    from facever.cleaning.suggestions import CleaningRules
    from facever.stages.store.clean import apply_lists, clean_store

    if apply is not None:
        return apply_lists(store, out, apply)
    return clean_store(
        store,
        out,
        model=model,
        embeddings=embeddings,
        test=test,
        test_embeddings=test_embeddings,
        rules=CleaningRules(duplicate, outlier_far, alike_far),
        device=device,
        backend=backend,
        array=array,
    )
