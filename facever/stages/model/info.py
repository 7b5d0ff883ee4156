"""``facever model info``: what a model file says of itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facever.inference.header import ModelHeader
from facever.inference.model import LoadedModel
from facever.inference.model_file import load_model
from facever.results import Result, plain


@dataclass(frozen=True)
class ModelInfo(Result):
    """What a model file says of itself.

    Attributes:
        model: The file, or the name of a ready model.
        fingerprint: By which galleries and reports know it.
        feature_size: Numbers in an embedding, after the mirror rule.
        template: Name of the crops that it takes.
        header: All that the file says.
    """

    model: str
    fingerprint: str
    feature_size: int
    template: str
    header: ModelHeader

    def lines(self) -> list[str]:
        """For a person to read, a line a fact."""
        header = self.header
        options = [f"{key}={each}" for key, each in header.network_options.items()]
        mirror = {
            "sum": "sum of a crop's features and its mirror image's",
            "concat": "a crop's features and its mirror image's, side by side",
            "none": "a crop's features alone",
        }[header.mirror]
        facts = {
            "network": " ".join([header.network, *options]),
            "crops": f"{self.template} (height x width), {header.channel_order}, "
            f"(pixel - {_numbers(header.mean)}) / {_numbers(header.scale)}",
            "embedding": f"{self.feature_size} numbers, {mirror}",
            "threshold": _describe_threshold(header),
            **{
                name: str(measured)
                for name, measured in (
                    ("set on", header.threshold_set_on),
                    ("checked on", header.threshold_checked_on),
                )
                if measured
            },
            "trained on": header.training_data,
            "licence": header.licence,
            "origin": header.origin,
            "fingerprint": self.fingerprint,
            **_describe_export(header),
        }
        width = max(map(len, facts))
        return [
            f"{self.model}:",
            *(f"  {name:{width}}  {fact}" for name, fact in facts.items()),
        ]

    def to_dict(self) -> dict[str, Any]:
        """The header's entries, and what follows from them."""
        return {
            "model": self.model,
            "fingerprint": self.fingerprint,
            "feature_size": self.feature_size,
            **plain(self.header),
            "template": self.template,
        }


def model_info(model: str | Path) -> ModelInfo:
    """What a model file, or a ready model, says of itself.

    Args:
        model: The file, or a name in ``READY``.

    Raises:
        ModelFileError: If it cannot be read.
    """
    return describe_model(load_model(model), model)


def describe_model(loaded: LoadedModel, model: str | Path) -> ModelInfo:
    """What a loaded model says of itself; ``model`` is what to call it."""
    return ModelInfo(
        str(model),
        loaded.fingerprint,
        loaded.feature_size,
        loaded.template.name,
        loaded.header,
    )


def _describe_export(header: ModelHeader) -> dict[str, str]:
    """What an export or an import has found out, where the file came by one."""
    facts = {}
    if header.export:
        kept = header.export["kept_in_float"]
        in_float = f", {len(kept)} layers of it in float" if kept else ""
        facts["numbers"] = (
            f"{header.precision}, exported from {header.export['source']}{in_float}"
        )
    lowest: dict[str, float] = {}
    for each in header.parity:
        way = f"{each.backend} {each.precision}"
        lowest[way] = min(each.lowest_cosine, lowest.get(way, 1.0))
    if lowest:
        facts["proven"] = ", ".join(
            f"{way} to a cosine of {cosine:.4f}" for way, cosine in lowest.items()
        )
    return facts


def _numbers(value: float | list[float] | str) -> str:
    if isinstance(value, str):
        return "the mean image in the file"
    if isinstance(value, list):
        return f"({', '.join(f'{number:g}' for number in value)})"
    return f"{value:g}"


def _describe_threshold(header: ModelHeader) -> str:
    if header.threshold is None:
        return "none; facever model threshold sets one"
    far = header.threshold_far
    rate = "an unknown false accept rate" if far is None else f"FAR {far:g}"
    others = [
        f"{cosine:.4f} for FAR {each:g}"
        for each, cosine in header.thresholds
        if each != far
    ]
    also = f" (also {', '.join(others)})" if others else ""
    return f"cosine {header.threshold:.4f} for {rate}{also}"
