"""What turns of a measurement came to, the same in every benchmark's json."""

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float], digits: int = 2) -> dict[str, float]:
    """Median, lowest and highest of the turns, to so many digits after the point."""
    return {
        "median": round(statistics.median(values), digits),
        "lowest": round(min(values), digits),
        "highest": round(max(values), digits),
    }


def spread_of_ratios(
    values: Sequence[float], beside: Sequence[float], digits: int = 2
) -> dict[str, float]:
    """The spread of each turn's value over what was measured beside it."""
    ratios = [value / other for value, other in zip(values, beside, strict=True)]
    return spread(ratios, digits)
