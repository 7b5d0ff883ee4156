"""The stages ``facever data info`` and ``facever data verify``."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.markup import escape

from facever.data.store.contact_sheet import NUM_SHEET_CROPS, draw_sheet
from facever.data.store.crop_store import CropStore
from facever.data.store.summary import (
    NUM_MEAN_CROPS,
    StoreSummary,
    mean_image,
    sample_rows,
    summarise_store,
)
from facever.data.store.verifying import Damage, count_checked, find_damage
from facever.errors import DataError
from facever.files import whole_file
from facever.progress import progress_bar

_MAX_LINES = 20
_BAR_WIDTH = 40


def info(
    store: Path, sheet: Path | None = None, seed: int = 0, as_json: bool = False
) -> StoreSummary:
    """Print what a crop store holds.

    The mean image is that of 10,000 crops drawn at random, or of all if there are
    fewer; its values are within about 1 of the mean of all.

    Args:
        store: Its folder.
        sheet: A PNG to write: the mean image and some crops drawn at random.
        seed: Of the draws.
        as_json: Print one JSON object in place of text.

    Raises:
        FaceverError: If the store is missing or damaged or the sheet cannot be written.
    """
    crops = CropStore.open(store)
    summary = summarise_store(crops)
    facts: dict[str, Any] = {"store": str(store), **asdict(summary)}
    rows = sample_rows(crops, NUM_MEAN_CROPS, seed)
    if len(rows):
        with progress_bar("mean image", len(rows), "crops") as advance:
            mean = mean_image(crops, rows, advance)
        facts["mean_colour"] = mean.mean(axis=(0, 1)).round(2).tolist()
        facts["mean_over"] = len(rows)
        if sheet:
            picture = draw_sheet(crops, sample_rows(crops, NUM_SHEET_CROPS, seed), mean)
            with whole_file(sheet) as temporary:
                Image.fromarray(picture).save(temporary, format="PNG")
    elif sheet:
        raise DataError(f"{store} holds no crop: there is nothing to show on a sheet")
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        console = Console(soft_wrap=True, highlight=False)
        for line in _describe(summary, facts):
            console.print(escape(line))
    return summary


def verify(store: Path, as_json: bool = False) -> None:
    """Read a crop store and compare it with its checksums.

    Args:
        store: Its folder.
        as_json: Print one JSON object in place of text.

    Raises:
        FileError: If there is no finished store.
        DataError: If the store is damaged, after all that is damaged was printed.
    """
    num_crops = count_checked(store)
    with progress_bar("verify", num_crops, "crops") as advance:
        damage = find_damage(store, advance)
    if as_json:
        print(json.dumps({"store": str(store), "crops": num_crops, **asdict(damage)}))
    elif not damage:
        print(f"{store}: {num_crops:,} crops and all files are as they were written")
    else:
        _print_damage(damage)
    if damage:
        raise DataError(
            f"{store} is damaged: {len(damage.files)} files and {len(damage.crops)} "
            "crops; restore it from a copy, or leave the crops out with facever data "
            "subset --exclude"
        )


def _describe(summary: StoreSummary, facts: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{facts['store']}: {summary.num_crops:,} crops of "
        f"{summary.num_identities:,} identities"
    )
    size = f"{summary.num_bytes / 1e6:,.1f} MB on disk"
    yield f"  stored as {summary.storage}, {size}"
    for key, value in summary.settings.items():
        yield f"  {key}: {json.dumps(value)}"
    yield f"  fingerprint: {summary.fingerprint}"
    if "mean_colour" in facts:
        red, green, blue = facts["mean_colour"]
        over = f"{facts['mean_over']:,} crops"
        yield f"  mean colour of {over}: R {red:.1f}, G {green:.1f}, B {blue:.1f}"
    yield from _describe_identities(summary)
    yield f"  {summary.num_failures:,} photos without a crop"
    for reason, count in list(summary.failures.items())[:_MAX_LINES]:
        yield f"    {count:,} {reason}"


def _describe_identities(summary: StoreSummary) -> Iterator[str]:
    if not summary.histogram:
        return
    spread = summary.photos_per_identity
    yield (
        f"  photos an identity: {spread['least']} to {spread['most']}, median "
        f"{spread['median']:g}, mean {spread['mean']:.1f}"
    )
    most = max(count for _, _, count in summary.histogram)
    for first, last, count in summary.histogram:
        photos = str(first) if first == last else f"{first}-{last}"
        bar = "█" * (-(-_BAR_WIDTH * count // most))
        yield f"    {photos:>13} {bar} {count:,}"


def _print_damage(damage: Damage) -> None:
    for name, reason in damage.files.items():
        print(f"  {name}: {reason}")
    for row, source in damage.crops[:_MAX_LINES]:
        print(f"  row {row} {ascii(source)[1:-1]}")
    if len(damage.crops) > _MAX_LINES:
        print(f"  and {len(damage.crops) - _MAX_LINES:,} more; --json lists them all")
