"""What ``facever model probe`` says: what was tried, what came of it, how surely."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from facever.choices import ChannelOrder, Mirror
from facever.errors import DataError, FaceverError
from facever.faces.templates import Template
from facever.inference.backends.runtime_network import Pixels, to_pixels
from facever.inference.pixel_scales import PIXEL_SCALES
from facever.progress import format_seconds
from facever.results import Result, plain, table_lines
from facever.verification.probe import LEVEL, USABLE_ACCURACY, Choice, Standing

MIRRORS: tuple[Mirror, ...] = ("sum", "concat", "none")
"""The first is taken where the others are no better."""

_FAR = 0.01
_COLUMNS = ("pairs", "AUC", "right", "TAR", "d'", "verdict")
_LEGEND = (
    "x: a pixel, 0 to 255; right: % of pairs, by a threshold of their other half; TAR: "
    f"% at FAR {_FAR:g}; AUC: %; d': how far genuine pairs lie above others, in "
    "standard deviations"
)


@dataclass(frozen=True)
class Input:
    """A way to give crops to a network.

    Attributes:
        template: What the crops look like.
        channel_order: The order of their colours.
        pixels: A row of ``PIXEL_SCALES``.
    """

    template: Template
    channel_order: ChannelOrder
    pixels: str

    def __str__(self) -> str:
        return f"{self.template.name} {self.channel_order} {self.pixels}"

    def prepare(self, crops: UInt8[np.ndarray, "crops height width 3"]) -> Pixels:
        """From crops to what the network is given."""
        _, mean, scale = PIXEL_SCALES[self.pixels]
        return to_pixels(crops, mean, scale, self.channel_order)


@dataclass(frozen=True)
class ProbeReport(Result):
    """How a network wants its crops.

    Attributes:
        file: The network.
        inputs: What was tried.
        choice: What came of it.
        mirrors: What came of the mirror rules, in the order of ``MIRRORS``; None where
            the network is of no use.
        out: Folder of the network with a header; None if none was asked for.
        seconds: Wall time, with alignment.
    """

    file: Path
    inputs: Sequence[Input]
    choice: Choice
    mirrors: Choice | None
    out: Path | None
    seconds: float

    @property
    def chosen(self) -> Input:
        """What the network was made for."""
        return self.inputs[self.choice.chosen]

    @property
    def mirror(self) -> Mirror | None:
        """The mirror rule; None where the network is of no use."""
        return None if self.mirrors is None else MIRRORS[self.mirrors.chosen]

    def lines(self) -> list[str]:
        """A table of all that was tried, what the network was made for, how sure."""
        lines = _table("crops, colours, pixels", self.choice, self.inputs)
        if self.mirrors is not None:
            lines += _table("mirror rule", self.mirrors, MIRRORS)
        lines += [_LEGEND, f"tried in {format_seconds(self.seconds)}"]
        if self.mirrors is not None:
            lines += [
                f"made for: {self.chosen}; {_how_sure(self.choice, self.inputs)}",
                f"mirror rule: {self.mirror}; {_how_sure(self.mirrors, MIRRORS)}",
            ]
            if self.out is not None:
                lines.append(f"written with a header: {self.out / self.file.name}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """What was tried with its numbers, and what was chosen."""
        chosen = self.chosen
        _, mean, scale = PIXEL_SCALES[chosen.pixels]
        inputs = [
            {
                "template": each.template.name,
                "channel_order": each.channel_order,
                "pixels": each.pixels,
            }
            for each in self.inputs
        ]
        mirrors = [{"mirror": str(name)} for name in MIRRORS]
        found: dict[str, Any] = plain(
            {
                "file": self.file,
                "is_usable": self.choice.is_usable,
                "template": chosen.template.name,
                "channel_order": chosen.channel_order,
                "mean": mean,
                "scale": scale,
                "mirror": self.mirror,
                "level": LEVEL,
                "inputs": _with_numbers(inputs, self.choice),
                "mirrors": _with_numbers(mirrors, self.mirrors),
                "out": self.out,
                "seconds": self.seconds,
            }
        )
        return found

    def failure(self) -> FaceverError | None:
        """That the network is of no use in any of the ways."""
        if self.choice.is_usable:
            return None
        best = self.choice.standings[self.choice.best]
        return DataError(
            f"{self.file}: the best of {len(self.inputs)} ways to give it crops judges "
            f"{best.evaluation.accuracy:.1%} of the pairs right, where face networks "
            f"judge {USABLE_ACCURACY:.0%} and more: it is no face network, or was made "
            "for other crops or numbers than those in the table"
        )


def _table(what: str, choice: Choice, names: Sequence[object]) -> list[str]:
    """A line for each way: those that came furthest first, then by separation."""
    ways = sorted(
        range(len(names)),
        key=lambda way: (
            -len(choice.standings[way].evaluation.pairs),
            -choice.standings[way].separation,
        ),
    )
    rows = [
        [
            str(names[way]),
            *_numbers(choice.standings[way]),
            _verdict(choice, way),
        ]
        for way in ways
    ]
    return table_lines([what, *_COLUMNS], rows)


def _numbers(standing: Standing) -> list[str]:
    evaluation = standing.evaluation
    tar = _tar(standing)
    return [
        f"{len(evaluation.pairs)}",
        f"{100 * evaluation.auc:.2f}",
        f"{100 * evaluation.accuracy:.2f}",
        "" if tar is None else f"{100 * tar:.2f}",
        f"{standing.separation:.2f}",
    ]


def _verdict(choice: Choice, way: int) -> str:
    if way == choice.best:
        return "best"
    if way not in choice.equal:
        return "worse"
    return "as good" if choice.standings[way].alike is None else "alike"


def _how_sure(choice: Choice, names: Sequence[object]) -> str:
    others = [
        f"{names[way]} ({_why_equal(choice, way)})"
        for way in sorted(choice.equal - {choice.chosen})
    ]
    num_worse = len(names) - len(choice.equal)
    verb = "is" if num_worse == 1 else "are"
    rest = f"{num_worse} of {len(names)} {verb} worse, at the level {LEVEL:g}"
    if not others:
        return rest
    return (
        f"these pairs cannot tell {', '.join(others)} from it, and it is the most "
        f"common of them; {rest}"
    )


def _why_equal(choice: Choice, way: int) -> str:
    standing = choice.standings[way]
    if standing.alike is not None:
        return "nearly the same cosines"
    if way == choice.best:
        gap = choice.standings[choice.chosen].p_value
        return f"the best, by a gap of p = {gap:.2g}"
    return f"p = {standing.p_value:.2g}"


def _tar(standing: Standing) -> float | None:
    found = (each.tar for each in standing.evaluation.tar if each.target_far == _FAR)
    return next(found)


def _mean_of_strangers(standing: Standing) -> float:
    evaluation = standing.evaluation
    return float(np.mean(evaluation.scores[~evaluation.pairs.same]))


def _with_numbers(
    tried: Sequence[Mapping[str, str]], choice: Choice | None
) -> list[dict[str, Any]]:
    """What was tried, with what came of it."""
    if choice is None:
        return []
    return [
        {
            **names,
            "num_pairs": len(standing.evaluation.pairs),
            "auc": standing.evaluation.auc,
            "accuracy": standing.evaluation.accuracy,
            "tar_at_far_0.01": _tar(standing),
            "mean_impostor_score": _mean_of_strangers(standing),
            "separation": standing.separation,
            "p_value": standing.p_value,
            "verdict": _verdict(choice, way),
            "alike": None if standing.alike is None else tried[standing.alike],
        }
        for way, (names, standing) in enumerate(
            zip(tried, choice.standings, strict=True)
        )
    ]
