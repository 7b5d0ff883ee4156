import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facever.verification.evaluation import Evaluation, evaluate_pairs
from facever.verification.groups.attributes import read_groups
from facever.verification.groups.comparison import GroupComparison, compare_groups
from facever.verification.reporting.extras import ReportExtras
from facever.verification.reporting.report import write_report
from facever.verification.reporting.sections.groups import (
    describe_groups,
    groups_section,
    small_groups,
)

NASTY = """<script>alert(1)</script>"&'$x_1$ ü and a name that is far too long"""


@pytest.fixture(scope="module")
def compared(draw, tmp_path_factory) -> tuple[Evaluation, GroupComparison]:
    embeddings, images, pairs = draw(seed=1, per_kind=25)
    evaluation = evaluate_pairs(embeddings, images, pairs)
    path = tmp_path_factory.mktemp("groups") / "groups.csv"
    quoted = NASTY.replace('"', '""')
    lines = ["name,half,rare"] + [
        f'P{p},"{quoted if p % 2 else "plain"}",{"few" if p == 3 else "many"}'
        for p in range(12)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    groups = read_groups(path, pairs)
    return evaluation, compare_groups("cosine", evaluation, groups, 0.1)


def test_the_page_says_every_rate(compared) -> None:
    _, found = compared
    page = groups_section(found)
    assert "<script" not in page
    assert not re.search(r"\bnan\b|\binf\b", page)
    assert page.count("<svg") == 4
    for each in found.compared:
        for kind in ("fmr", "fnmr"):
            for group in range(2):
                rate = getattr(each, kind).own(group)
                errors = f"{rate.num_errors:,} of {rate.num_pairs:,}"
                assert errors in page or not rate.num_pairs
        for test in each.tests:
            assert f"{test.p_value:.4f}" in page
    # Each upright line and dot is inside of its picture.
    places = [float(x) for x in re.findall(r'(?:cx|x1|x2)="([\d.]+)"', page)]
    assert all(0 <= place <= 480 for place in places)


def test_what_is_said(compared) -> None:
    _, found = compared
    half, rare = found.compared
    assert re.match(
        r"(none|\d) of 2 comparisons of two groups sh", describe_groups(half)
    )
    assert small_groups(rare).startswith("FNMR of few; FMR of few")
    assert "of 1 comparisons" in describe_groups(rare)  # One person has no strangers.


def test_groups_change_no_other_number(compared, tmp_path: Path) -> None:
    evaluation, found = compared
    written = {}
    for name, extras in (
        ("with", ReportExtras(groups=found)),
        ("without", ReportExtras()),
    ):
        out = tmp_path / name
        write_report(out, {"cosine": evaluation}, "title", {}, extras=extras)
        written[name] = json.loads((out / "report.json").read_text())
    with_groups = written["with"].pop("groups")
    assert written["without"].pop("groups") is None
    assert written["with"] == written["without"]
    scores = [(tmp_path / name / "scores.csv").read_bytes() for name in written]
    assert scores[0] == scores[1]
    assert [each["name"] for each in with_groups["attributes"]] == ["half", "rare"]
    for number, each in zip(with_groups["attributes"], found.compared, strict=True):
        for group, of_group in enumerate(number["groups"]):
            rate = each.fnmr.own(group)
            assert of_group["fnmr"]["rate"] == rate.rate
            assert of_group["fnmr"]["interval"] == [
                rate.interval.low,
                rate.interval.high,
            ]
    with Image.open(tmp_path / "with" / "groups.png") as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 20
    assert not (tmp_path / "without" / "groups.png").exists()
    # A later report without groups leaves no picture of them.
    write_report(tmp_path / "with", {"cosine": evaluation}, "title", {})
    assert not (tmp_path / "with" / "groups.png").exists()
