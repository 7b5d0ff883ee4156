"""The numbers of groups, as ``report.json`` holds them."""

from dataclasses import asdict
from typing import Any

from facever.verification.groups.clustered_rates import ClusteredRate
from facever.verification.groups.comparison import (
    ByChance,
    ComparedGroups,
    GroupComparison,
    RateOfGroups,
)
from facever.verification.groups.differentials import GARBE_WEIGHT


def group_numbers(found: GroupComparison | None) -> dict[str, Any] | None:
    """Every number of a comparison of groups, in the plain types of JSON."""
    if found is None:
        return None
    return {
        "model": found.model,
        "rule": "one threshold for all groups, that of the FMR over all impostor "
        "pairs; pairs without a photo are left out",
        "target_fmr": found.target_far,
        "threshold": found.threshold,
        "fmr": found.fmr,
        "fnmr": found.fnmr,
        "attributes": [_attribute(each) for each in found.compared],
        "seed": found.seed,
        "notes": list(found.notes),
    }


def _attribute(each: ComparedGroups) -> dict[str, Any]:
    attribute = each.attribute
    people = each.num_people or (None,) * len(attribute.groups)
    return {
        "name": attribute.name,
        "groups": [
            {
                "name": name,
                "num_people": num_people,
                "num_photos": num_photos,
                "num_photos_missing": num_missing,
                "fnmr": _rate(each.fnmr.own(group)),
                "fmr": _rate(each.fmr.own(group)),
            }
            for group, (name, num_people, num_photos, num_missing) in enumerate(
                zip(
                    attribute.groups,
                    people,
                    attribute.num_photos,
                    each.num_missing,
                    strict=True,
                )
            )
        ],
        "num_photos_without_group": attribute.num_without,
        "num_people_in_several_groups": each.num_in_several,
        "across": [
            {
                "first": attribute.groups[first],
                "second": attribute.groups[second],
                "fnmr": _rate(each.fnmr.of[first, second]),
                "fmr": _rate(each.fmr.of[first, second]),
            }
            for first, second in each.fmr.of
            if first != second
        ],
        "differentials": {
            "fnmr": _differentials(each.fnmr),
            "fmr": _differentials(each.fmr),
            "garbe": each.garbe,
            "garbe_weight_of_fmr": GARBE_WEIGHT,
            "garbe_by_chance": _by_chance(each.garbe_by_chance),
        },
        "tests": [asdict(test) for test in each.tests],
        "num_deals": each.num_deals,
    }


def _rate(rate: ClusteredRate) -> dict[str, Any]:
    interval = rate.interval
    return {
        "num_pairs": rate.num_pairs,
        "num_errors": rate.num_errors,
        "num_people": rate.num_people,
        "rate": rate.rate,
        "interval": None if interval is None else [interval.low, interval.high],
        "level": None if interval is None else interval.level,
        "design_effect": rate.design_effect,
        "is_too_small": rate.is_small,
    }


def _differentials(rates: RateOfGroups) -> dict[str, Any]:
    return {
        **asdict(rates.differentials),
        "gini_by_chance": _by_chance(rates.gini_by_chance),
    }


def _by_chance(chance: ByChance | None) -> dict[str, float] | None:
    return None if chance is None else asdict(chance)
