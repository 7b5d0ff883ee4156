"""Fixed unit vectors, one a class, far from each other."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from facever.errors import ParameterError

AnchorKind = Literal["auto", "basis", "circle", "simplex", "spread"]

# Constants of the numerical spreading: how sharply the nearest anchors count, the
# length of the first step, and the floating point operations that it may take.
_SHARPNESS = 20.0
_FIRST_STEP = 0.3
_WORK = 4e11
_CHUNK = 1024


def make_anchors(
    kind: AnchorKind, num_classes: int, dim: int, seed: int = 0
) -> Float[Tensor, "classes dim"]:
    """Unit vectors with large angles between them.

    Args:
        kind: ``basis``, the standard orthonormal basis, for classes <= dim; ``circle``,
            equal angles in 2-D; ``simplex``, every cosine -1 / (classes - 1), the
            smallest there can be, for classes <= dim + 1; ``spread``, any number,
            pushed apart from random places; ``auto``, the circle in 2-D, otherwise the
            first of basis, simplex and spread that the number of classes allows.
        num_classes: Number of anchors, at least 1.
        dim: Number of dimensions of an anchor, at least 1.
        seed: Decides the random places from which ``spread`` starts.

    Returns:
        The anchors, float32.

    Raises:
        ParameterError: If the kind does not allow this number of classes in this
            dimension.

    References:
        Hao et al., Anchor-based nearest class mean loss, 2018, eq. 9 and 10, where the
        bound on the cosines is an upper one.
    """
    if kind == "auto":
        kind = _best(num_classes, dim)
    if kind == "basis":
        if num_classes > dim:
            raise ParameterError(
                f"anchors basis needs num_classes <= embedding_size, {dim}, "
                f"got {num_classes}; take simplex or spread"
            )
        return torch.eye(num_classes, dim)
    if kind == "circle":
        if dim != 2:
            raise ParameterError(f"anchors circle needs embedding_size 2, got {dim}")
        angles = torch.arange(num_classes) * (2 * math.pi / num_classes)
        return torch.stack([angles.cos(), angles.sin()], dim=1)
    if kind == "simplex":
        if num_classes > dim + 1:
            raise ParameterError(
                f"anchors simplex needs num_classes <= embedding_size + 1, {dim + 1}, "
                f"got {num_classes}; take spread"
            )
        return _simplex(num_classes, dim)
    if kind == "spread":
        return _spread(num_classes, dim, seed)
    raise ParameterError(
        f"anchors must be auto, basis, circle, simplex or spread, got {kind!r}"
    )


def _best(num_classes: int, dim: int) -> AnchorKind:
    if dim == 2:
        return "circle"
    if num_classes <= dim:
        return "basis"
    return "simplex" if num_classes == dim + 1 else "spread"


def _simplex(num_classes: int, dim: int) -> Tensor:
    if num_classes == 1:
        return torch.eye(1, dim)
    # The basis of one dimension more, seen from its middle, is a simplex, in a plane
    # that the left singular vectors turn into the first axes.
    centered = torch.eye(num_classes, dtype=torch.float64) - 1 / num_classes
    left, values, _ = torch.linalg.svd(centered)
    corners = normalize(left[:, : num_classes - 1] * values[: num_classes - 1])
    anchors = torch.zeros(num_classes, dim)
    anchors[:, : num_classes - 1] = corners.float()
    return anchors


def _spread(num_classes: int, dim: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    anchors = normalize(torch.randn(num_classes, dim, generator=generator))
    steps = int(min(200, max(4, _WORK / (4 * num_classes**2 * dim))))
    for step in range(steps):
        length = _FIRST_STEP * (1 - step / steps)
        pushes = torch.empty_like(anchors)
        for first in range(0, num_classes, _CHUNK):
            cosine = anchors[first : first + _CHUNK] @ anchors.T
            cosine.diagonal(first).fill_(-torch.inf)
            nearest = (_SHARPNESS * cosine).softmax(dim=1).nan_to_num(0.0)
            pushes[first : first + _CHUNK] = nearest @ anchors
        anchors = normalize(anchors - length * normalize(pushes))
    return anchors
