"""The stages ``facever data info`` and ``facever data verify``."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from facever.data.store.contact_sheet import NUM_SHEET_CROPS, draw_sheet
from facever.data.store.crop_store import CropStore
from facever.data.store.summary import (
    NUM_MEAN_CROPS,
    StoreSummary,
    mean_image,
    sample_rows,
    summarise_store,
)
from facever.data.store.verifying import count_checked, find_damage
from facever.errors import DataError
from facever.files import check_file_place, whole_file
from facever.progress import progress_bar
from facever.results import Result, plain

_MAX_LINES = 20
_BAR_WIDTH = 40
_NUM_NAMED = 3


@dataclass(frozen=True)
class StoreFacts(Result):
    """What a crop store holds.

    Attributes:
        store: The store's folder.
        summary: Counts, settings and sizes.
        mean_colour: Mean of red, green and blue over ``mean_over`` crops; None without
            crops.
        mean_over: Number of crops, drawn at random, that the mean is of.
    """

    store: Path
    summary: StoreSummary
    mean_colour: list[float] | None
    mean_over: int

    def lines(self) -> list[str]:
        """Counts, settings, photos of an identity as bars, doubts, failures."""
        summary = self.summary
        size = f"{summary.num_bytes / 1e6:,.1f} MB on disk"
        lines = [
            f"{self.store}: {summary.num_crops:,} crops of "
            f"{summary.num_identities:,} identities",
            f"  stored as {summary.storage}, {size}",
        ]
        for key, value in summary.settings.items():
            lines.append(f"  {key}: {json.dumps(value)}")
        lines.append(f"  fingerprint: {summary.fingerprint}")
        if self.mean_colour:
            red, green, blue = self.mean_colour
            over = f"{self.mean_over:,} crops"
            lines.append(
                f"  mean colour of {over}: R {red:.1f}, G {green:.1f}, B {blue:.1f}"
            )
        lines += _histogram_lines(summary)
        lines += _face_lines(summary)
        lines.append(f"  {summary.num_failures:,} photos without a crop")
        for reason, count in list(summary.failures.items())[:_MAX_LINES]:
            lines.append(f"    {count:,} {reason}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """The store, the summary's fields and the mean, side by side."""
        facts: dict[str, Any] = {"store": str(self.store), **plain(self.summary)}
        if self.mean_colour:
            facts |= {"mean_colour": self.mean_colour, "mean_over": self.mean_over}
        return facts


@dataclass(frozen=True)
class StoreCheck(Result):
    """A crop store compared with its checksums.

    Attributes:
        store: The store's folder.
        num_crops: Number of crops that were compared.
        files: What is wrong with a file, by its name.
        crops: Row and source of each damaged crop; the source is empty where the table
            of the crops is damaged, too.
    """

    store: Path
    num_crops: int
    files: dict[str, str]
    crops: list[tuple[int, str]]

    @property
    def is_sound(self) -> bool:
        """Whether all is as it was written."""
        return not (self.files or self.crops)

    def lines(self) -> list[str]:
        """What is damaged, or that nothing is."""
        if self.is_sound:
            return [
                f"{self.store}: {self.num_crops:,} crops and all files are as they "
                "were written"
            ]
        lines = [f"  {name}: {reason}" for name, reason in self.files.items()]
        for row, source in self.crops[:_MAX_LINES]:
            lines.append(f"  row {row} {ascii(source)[1:-1]}")
        if len(self.crops) > _MAX_LINES:
            more = len(self.crops) - _MAX_LINES
            lines.append(f"  and {more:,} more; --json lists them all")
        return lines

    def failure(self) -> DataError | None:
        """That the store is damaged, and what to do."""
        if self.is_sound:
            return None
        return DataError(
            f"{self.store} is damaged: {len(self.files)} files and {len(self.crops)} "
            "crops; restore it from a copy, or leave the crops out with facever data "
            "subset --exclude"
        )


def describe_store(
    store: str | Path, *, sheet: str | Path | None = None, seed: int = 0
) -> StoreFacts:
    """Count what a crop store holds.

    The mean colour is that of 10,000 crops drawn at random, or of all if there are
    fewer; its values are within about 1 of the mean of all.

    Args:
        store: The store's folder.
        sheet: A PNG to write: the mean image and some crops drawn at random.
        seed: Seed of the draws.

    Raises:
        FaceverError: If the store is missing or damaged or the sheet cannot be written.
    """
    store = Path(store)
    if sheet:
        check_file_place(Path(sheet))
    crops = CropStore.open(store)
    rows = sample_rows(crops, NUM_MEAN_CROPS, seed)
    if not len(rows):
        if sheet:
            raise DataError(
                f"{store} holds no crop: there is nothing to show on a sheet"
            )
        return StoreFacts(store, summarise_store(crops), None, 0)
    with progress_bar("mean image", len(rows), "crops") as advance:
        mean = mean_image(crops, rows, advance)
    if sheet:
        shown = sample_rows(crops, NUM_SHEET_CROPS, seed)
        with whole_file(Path(sheet)) as temporary:
            picture = Image.fromarray(draw_sheet(crops, shown, mean))
            picture.save(temporary, format="PNG")
    colour = mean.mean(axis=(0, 1)).round(2).tolist()
    return StoreFacts(store, summarise_store(crops), colour, len(rows))


def verify_store(store: str | Path) -> StoreCheck:
    """Read a crop store and compare it with its checksums.

    Args:
        store: The store's folder.

    Raises:
        FileError: If there is no finished store.
    """
    store = Path(store)
    num_crops = count_checked(store)
    with progress_bar("verify", num_crops, "crops") as advance:
        damage = find_damage(store, advance)
    return StoreCheck(store, num_crops, damage.files, damage.crops)


def _histogram_lines(summary: StoreSummary) -> Iterator[str]:
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


def _face_lines(summary: StoreSummary) -> Iterator[str]:
    if fit := summary.landmark_fit:
        worst = ", ".join(
            f"{ascii(source)[1:-1]} {residual:.2f}"
            for source, residual in fit.worst.items()
        )
        yield (
            f"  landmarks off the template, in distances of the eyes: median "
            f"{fit.median:.2f}, 99 % up to {fit.percentile_99:.2f}"
        )
        yield f"    the worst: {worst}"
    choices = summary.face_choices
    if choices is None or not choices.num_several:
        return
    yield (
        f"  {choices.num_several:,} photos show several faces; of these, other rules "
        f"than {choices.rule} take another one:"
    )
    for rule, photos in choices.others.items():
        named = ", ".join(ascii(photo)[1:-1] for photo in photos[:_NUM_NAMED])
        more = f" and {len(photos) - _NUM_NAMED:,} more" * (len(photos) > _NUM_NAMED)
        yield f"    --face {rule}: in {len(photos):,}{' ' * bool(photos)}{named}{more}"
