"""Batches whose crops are mixtures of two people."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from facever.errors import ParameterError
from facever.heads import HeadOutput

MIXUP_ALPHA = 0.2
"""Both parameters of the beta distribution of mixup's share."""


@dataclass(frozen=True)
class Mixture:
    """How the crops of one batch are mixed, each with its partner.

    The first crop and the second are partners, the third and the fourth, and so on:
    the same ones however many processes share the batch, if each has an even number.

    Attributes:
        share: The share of the loss on a crop's own label, in [0, 1]; the partner's
            label gets the rest.
        window: The rows and columns that come from the partner, for CutMix; None adds
            the pixels up, ``share`` of the crop and the rest of the partner, for mixup.
    """

    share: float
    window: tuple[slice, slice] | None = None

    def images(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """The mixed images, an even number; what is given stays as it is."""
        partners = images[_partners(images)]
        if self.window is None:
            return torch.lerp(partners, images, self.share)
        rows, columns = self.window
        mixed = images.clone()
        mixed[:, :, rows, columns] = partners[:, :, rows, columns]
        return mixed

    def head(self, head: nn.Module) -> nn.Module:
        """A head for the mixed images: ``share`` of the loss on each of two labels."""
        return _MixedHead(head, self.share)


class _MixedHead(nn.Module):
    def __init__(self, head: nn.Module, share: float) -> None:
        super().__init__()
        self.head = head
        self.share = share

    def forward(
        self,
        embeddings: Float[Tensor, "batch dim"],
        labels: Int[Tensor, " batch"],
        teacher: None = None,
    ) -> HeadOutput:
        """A hit is the label with the larger share."""
        partner_labels = labels[_partners(labels)]
        own: HeadOutput = self.head(embeddings, labels)
        partner: HeadOutput = self.head(embeddings, partner_labels)

        def mixed(first: Tensor, second: Tensor) -> Tensor:
            return self.share * first + (1 - self.share) * second

        parts = {
            name: mixed(value, partner.parts[name]) for name, value in own.parts.items()
        }
        hits = own.hits if self.share >= 0.5 else partner.hits
        if own.logits is not None:
            main = labels if self.share >= 0.5 else partner_labels
            hits = own.logits.argmax(dim=1) == main
        return HeadOutput(mixed(own.loss, partner.loss), None, parts, hits)


def _partners(batch: Tensor) -> Int[Tensor, " batch"]:
    assert len(batch) % 2 == 0
    return torch.arange(len(batch), device=batch.device) ^ 1


@dataclass(frozen=True)
class Mixing:
    """Draws how the batch of a step is mixed, if at all.

    Attributes:
        mixup: The chance that two crops are added up, in [0, 1]. The share follows
            Beta(0.2, 0.2), so that most mixtures are nearly one of the two.
        cutmix: The chance that a window of a crop is replaced by its partner's, in [0,
            1 - mixup]. The window's share of the area is drawn evenly, and what lies
            outside of the crop is cut off.
        seed: The seed of the run. Seed and step alone decide what is drawn, so a run
            that was stopped goes on with the same draws, and several processes mix
            alike.

    Raises:
        ParameterError: If a chance is out of range.

    References:
        Zhang et al., mixup: beyond empirical risk minimization, 2018, section 2 (alpha
        for many classes: section 3.1); Yun et al., CutMix, 2019, eq. 1 and 2.

    Example:
        >>> from facever.training.mixing import Mixing
        >>> mixture = Mixing(mixup=0.0, cutmix=1.0, seed=0).draw(0, (112, 96))
        >>> 0 <= mixture.share <= 1
        True
    """

    mixup: float
    cutmix: float
    seed: int

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) <= 1:
                raise ParameterError(
                    f"{name} must be in [0, 1], got {getattr(self, name)}"
                )
        if self.mixup + self.cutmix > 1:
            raise ParameterError(
                "mixup and cutmix are chances of one draw and must sum to at most 1, "
                f"got {self.mixup} and {self.cutmix}"
            )

    def draw(self, step: int, size: tuple[int, int]) -> Mixture | None:
        """The mixture of a step; None leaves its batch as it is.

        Args:
            step: Number of the step, from 0.
            size: Height and width of a crop, in pixels.
        """
        generator = np.random.default_rng((self.seed, step, 6))
        chance = generator.random()
        if chance < self.mixup:
            return Mixture(generator.beta(MIXUP_ALPHA, MIXUP_ALPHA))
        if chance < self.mixup + self.cutmix:
            return _draw_window(generator, size)
        return None


def _draw_window(generator: np.random.Generator, size: tuple[int, int]) -> Mixture:
    part_of_side = math.sqrt(1 - generator.random())
    window, cut_area = [], 1.0
    for side in size:
        center = int(generator.integers(side))
        half = round(part_of_side * side / 2)
        first, end = max(0, center - half), min(side, center + half)
        window.append(slice(first, end))
        cut_area *= (end - first) / side
    return Mixture(1 - cut_area, (window[0], window[1]))
