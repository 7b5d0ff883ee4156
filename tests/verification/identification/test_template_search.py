import numpy as np
import pytest

from facever.errors import DataError
from facever.verification.identification.template_search import (
    search_templates,
    tpir_interval,
)
from facever.verification.protocols.identity_list import IdentityList
from facever.verification.protocols.template_lists import TemplateList
from facever.verification.protocols.template_pooling import PooledTemplates
from facever.verification.uncertainty.intervals import wilson

NUM_PEOPLE, PROBES_EACH = 30, 4
ENROLLED = list(range(NUM_PEOPLE))
SEARCHED = list(range(NUM_PEOPLE, NUM_PEOPLE * (1 + PROBES_EACH)))


def draw(missing: list[int]) -> tuple[PooledTemplates, TemplateList]:
    """Templates 100, 101, ..., of people who are hard to tell apart."""
    rng = np.random.default_rng(0)
    person = np.append(ENROLLED, np.repeat(ENROLLED, PROBES_EACH))
    units = rng.normal(size=(NUM_PEOPLE, 6))[person] + 0.8 * rng.normal(
        size=(len(person), 6)
    )
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    present = ~np.isin(np.arange(len(person)), missing)
    units[~present] = 0
    places = np.arange(len(person))
    photos = [f"{place}.jpg" for place in places]
    listed = TemplateList(photos, places + 100, places, places, places)
    return PooledTemplates(units.astype(np.float32), present), listed


def identities(places: list[int]) -> IdentityList:
    return IdentityList(
        [str(100 + place) for place in places],
        [str(p if p < NUM_PEOPLE else (p - NUM_PEOPLE) // PROBES_EACH) for p in places],
    )


def test_two_galleries_by_hand() -> None:
    pooled, listed = draw(missing=[2, 40])
    # 18 and 12 people: the means are of galleries, not of probes.
    galleries = {"G1": ENROLLED[:18], "G2": ENROLLED[18:]}
    found = search_templates(
        pooled,
        listed,
        {name: identities(places) for name, places in galleries.items()},
        identities(SEARCHED),
        target_fpirs=(0.2, 0.001),
    )
    assert list(found.searches) == ["G1", "G2"]
    rank_1, tpirs = [], []
    for name, places in galleries.items():
        mated, first, strangers = 0, [], []
        for place in SEARCHED:
            own = (place - NUM_PEOPLE) // PROBES_EACH
            scores = {
                other: float(pooled.units[place] @ pooled.units[other])
                for other in places
                if pooled.present[other] and pooled.present[place]
            }
            if own not in places:
                strangers.append(max(scores.values(), default=-np.inf))
                continue
            mated += 1
            if own in scores and scores[own] >= max(scores.values()):
                first.append(scores[own])
        rank_1.append(len(first) / mated)
        # One more stranger than allowed has this score.
        bound = sorted(strangers)[-1 - len(strangers) // 5]
        tpirs.append(sum(score > bound for score in first) / mated)
        search = found.searches[name]
        assert search.cmc[0] == pytest.approx(rank_1[-1])
        assert search.tpir[0].tpir == pytest.approx(tpirs[-1])
        interval = tpir_interval(search, search.tpir[0])
        assert interval == wilson(round(tpirs[-1] * mated), mated)
        assert tpir_interval(search, search.tpir[1]) is None
    assert 0.3 < rank_1[0] < 1
    assert rank_1[0] != rank_1[1]
    assert found.cmc[0] == pytest.approx(np.mean(rank_1))
    assert len(found.cmc) == 12
    assert found.tpir == [(0.2, pytest.approx(np.mean(tpirs))), (0.001, None)]
    assert found.searches["G1"].missing_gallery == ["102"]
    assert found.searches["G2"].missing_probes == ["140"]


def test_a_template_that_is_searched_among_itself_is_refused() -> None:
    pooled, listed = draw(missing=[])
    both = identities([*ENROLLED, SEARCHED[3], SEARCHED[5]])
    with pytest.raises(
        DataError, match=r"2 templates are in the gallery G1 and .* 133"
    ):
        search_templates(pooled, listed, {"G1": both}, identities(SEARCHED))
