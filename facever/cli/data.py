"""``facever data``: look at crop stores, check, join, divide and export them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from facever.cli.options import AsJson

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
    from facever.stages import store_facts as stages

    stages.info(store, sheet, seed, as_json)


@data_app.command("verify")
def data_verify(store: Store, as_json: AsJson = False) -> None:
    """Compare a store with its checksums; damage is listed and ends with code 2."""
    from facever.stages import store_facts as stages

    stages.verify(store, as_json)


@data_app.command("merge")
def data_merge(
    stores: Annotated[
        list[Path], typer.Argument(help="Crop stores; shards in their order")
    ],
    out: Annotated[Path, typer.Option(help="A new folder, or a store to append to")],
) -> None:
    """Join stores of the same settings; shards give what one run would have."""
    from facever.stages import store_changes as stages

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
    from facever.stages import store_changes as stages

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
    from facever.stages import store_changes as stages

    stages.split(store, first, second, share, seed)


@data_app.command("compress")
def data_compress(
    store: Store,
    out: NewStore,
    quality: Annotated[int, typer.Option(help="Of JPEG, 1 to 100")] = 95,
) -> None:
    """Copy a store to one of JPEGs, for sets that do not fit as pixels."""
    from facever.stages import store_changes as stages

    stages.compress(store, out, quality)


@data_app.command("export")
def data_export(
    store: Store,
    out: Annotated[Path, typer.Argument(help="A new folder")],
    to: Annotated[
        Literal["folders", "rec", "tar"],
        typer.Option(help="Identity folders, InsightFace's .rec or webdataset shards"),
    ],
    quality: Annotated[
        int | None, typer.Option(help="JPEG, 1 to 100, in place of lossless PNG")
    ] = None,
    shard_size: Annotated[int, typer.Option(help="Crops of a tar shard")] = 10_000,
) -> None:
    """Export all crops; the same store gives the same bytes."""
    from facever.stages import store_export as stages

    stages.export(store, out, to, quality, shard_size)
