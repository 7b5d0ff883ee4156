"""``facever data``: look at crop stores, check, join, divide and export them."""

from pathlib import Path
from typing import Annotated

import typer

from facever.choices import ExportForm
from facever.cli.options import AsJson, Device

data_app = typer.Typer(
    help="Look at crop stores, check, join, divide and export them.",
    no_args_is_help=True,
)

Store = Annotated[Path, typer.Argument(help="A crop store")]
NewStore = Annotated[Path, typer.Argument(help="Folder of the new crop store")]
Seed = Annotated[int, typer.Option(help="Of the draw")]


@data_app.command("info")
def data_info(
    store: Store,
    sheet: Annotated[
        Path | None,
        typer.Option(help="PNG to write: the mean image and crops drawn at random"),
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """What a store holds: counts, photos an identity, settings, mean, failures."""
    from facever.stages.store import facts as stages

    stages.info(store, sheet, seed, as_json)


@data_app.command("verify")
def data_verify(store: Store, as_json: AsJson = False) -> None:
    """Compare a store with its checksums; damage is listed and ends with code 2."""
    from facever.stages.store import facts as stages

    stages.verify(store, as_json)


@data_app.command("merge")
def data_merge(
    stores: Annotated[
        list[Path], typer.Argument(help="Crop stores; shards in their order")
    ],
    out: Annotated[Path, typer.Option(help="A new folder, or a store to append to")],
) -> None:
    """Join stores of the same settings; shards give what one run would have."""
    from facever.stages.store import changes as stages

    stages.merge(stores, out)


@data_app.command("subset")
def data_subset(
    store: Store,
    out: NewStore,
    identities: Annotated[
        Path | None, typer.Option(help="File that names the identities to take")
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(help="File that names identities, photos or sources to leave out"),
    ] = None,
    min_photos: Annotated[
        int, typer.Option(help="Only identities with so many photos after that")
    ] = 1,
    sample: Annotated[
        int | None, typer.Option(help="Only so many of those identities, at random")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Copy chosen crops to a new store; left_out.csv there lists all others."""
    from facever.stages.store import changes as stages

    stages.subset(
        store,
        out,
        min_photos=min_photos,
        exclude=exclude,
        identities=identities,
        sample=sample,
        seed=seed,
    )


@data_app.command("split")
def data_split(
    store: Store,
    first: NewStore,
    second: NewStore,
    share: Annotated[
        float, typer.Option(help="Of the identities, for the first new store")
    ] = 0.9,
    seed: Seed = 0,
) -> None:
    """Copy a store to two, by identity: nobody is in both."""
    from facever.stages.store import changes as stages

    stages.split(store, first, second, share, seed)


@data_app.command("compress")
def data_compress(
    store: Store,
    out: NewStore,
    quality: Annotated[int, typer.Option(help="Of JPEG, 1 to 100")] = 95,
) -> None:
    """Copy a store to one of JPEGs, for sets that do not fit as pixels."""
    from facever.stages.store import changes as stages

    stages.compress(store, out, quality)


@data_app.command("export")
def data_export(
    store: Store,
    out: Annotated[Path, typer.Argument(help="A new folder")],
    to: Annotated[
        ExportForm,
        typer.Option(help="Identity folders, InsightFace's .rec or webdataset shards"),
    ],
    quality: Annotated[
        int | None, typer.Option(help="JPEG, 1 to 100, in place of lossless PNG")
    ] = None,
    shard_size: Annotated[int, typer.Option(help="Crops of a tar shard")] = 10_000,
) -> None:
    """Export all crops; the same store gives the same bytes."""
    from facever.stages.store import export as stages

    stages.export(store, out, to, quality, shard_size)


@data_app.command("clean")
def data_clean(
    store: Store,
    out: Annotated[Path, typer.Argument(help="Folder of the lists and their sheets")],
    model: Annotated[
        Path | None, typer.Option(help="Model file that embeds the crops")
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="In its place an .npz from facever embed")
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(help="Crop store of a test set whose people should not be here"),
    ] = None,
    test_embeddings: Annotated[
        Path | None, typer.Option(help="Its embeddings, where no model is given")
    ] = None,
    duplicate: Annotated[
        float, typer.Option(help="Photos above this cosine are near-duplicates")
    ] = 0.95,
    outlier_far: Annotated[
        float,
        typer.Option(
            help="A photo is an outlier unless it is closer to its identity than all "
            "but this share of photos are to another"
        ),
    ] = 1e-3,
    alike_far: Annotated[
        float, typer.Option(help="The same for identities that look alike")
    ] = 1e-5,
    device: Device = "auto",
    apply: Annotated[
        Path | None,
        typer.Option(
            help="New crop store: write what the lists in OUT leave, as they stand now"
        ),
    ] = None,
) -> None:
    """List what looks wrong: doubles, outliers, look-alikes, people of a test set.

    Nothing is removed: edit the first column of the lists, then run it again with
    --apply NEW_STORE.
    """
    from facever.cleaning.suggestions import CleaningRules
    from facever.stages.store.clean import clean as stage
    from facever.stages.store.clean_apply import apply_lists

    if apply is not None:
        apply_lists(store, out, apply)
        return
    stage(
        store,
        out,
        model=model,
        embeddings=embeddings,
        test=test,
        test_embeddings=test_embeddings,
        rules=CleaningRules(duplicate, outlier_far, alike_far),
        device=device,
    )
