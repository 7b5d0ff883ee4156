"""psi of L-Softmax and SphereFace: the cosine of a multiple angle, made to fall."""

import math

from jaxtyping import Float
from torch import Tensor

from facever.errors import ParameterError
from facever.heads.classifier import inverse


def psi(cosine: Float[Tensor, "*shape"], margin: int) -> Float[Tensor, "*shape"]:
    """``(-1)^k cos(m theta) - 2 k`` for theta in ``[k pi / m, (k + 1) pi / m]``.

    cos(m theta) is a polynomial of cos(theta) (Chebyshev's), and k counts the bounds
    ``cos(i pi / m)`` that the cosine has passed, so no arccos is taken and the gradient
    is finite everywhere: at most m^2, at cosine +1 and -1.

    Args:
        cosine: Of theta, in [-1, 1].
        margin: m, 1, 2, 3 or 4; with 1 the cosine stays as it is.

    Returns:
        Falls from 1 at theta = 0 to 1 - 2 m at pi, without a jump.

    Raises:
        ParameterError: If the margin is none of these.

    References:
        Liu et al., Large-margin softmax loss, 2016, eq. 5 and 6.
    """
    check_multiple(margin)
    if margin == 1:
        return cosine
    square = cosine * cosine
    if margin == 2:
        multiple = 2 * square - 1
    elif margin == 3:
        multiple = cosine * (4 * square - 3)
    else:
        multiple = 8 * square * (square - 1) + 1
    passed = sum(
        (cosine <= math.cos(i * math.pi / margin)).to(cosine.dtype)
        for i in range(1, margin)
    )
    return (1 - 2 * (passed % 2)) * multiple - 2 * passed


def blend(
    target: Float[Tensor, " batch"],
    lengths: Float[Tensor, " batch"],
    margin: int,
    constant: Float[Tensor, ""],
) -> Float[Tensor, " batch"]:
    """``lengths * (lambda cos(theta) + psi(theta)) / (1 + lambda)``.

    Args:
        target: The own class's logit, ``lengths * cos(theta)``.
        lengths: ``|W_y| |f|``; where one is 0 the logit stays 0, without gradient.
        margin: m, 1, 2, 3 or 4.
        constant: lambda, at least 0; without bound it gives softmax.

    Returns:
        The target's logit with the margin.
    """
    cosine = (target * inverse(lengths)).clamp(-1, 1)
    return (constant * target + lengths * psi(cosine, margin)) / (1 + constant)


def check_multiple(margin: int) -> None:
    """Refuse a margin that psi is not defined for.

    Raises:
        ParameterError: If the margin is none of 1, 2, 3 and 4.
    """
    if margin not in (1, 2, 3, 4):
        raise ParameterError(f"margin must be 1, 2, 3 or 4, got {margin}")
