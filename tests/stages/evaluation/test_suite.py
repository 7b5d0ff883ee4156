import csv
import json
import shutil
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facever.config.reading import load_config
from facever.config.suite import SuiteConfig
from facever.errors import ConfigError, FileError
from facever.stages.evaluation import suite
from facever.stages.evaluation.compare import compare_evaluations
from facever.stages.evaluation.evaluate import evaluate_list
from facever.stages.evaluation.features import Inputs
from facever.stages.evaluation.judging import Judging
from facever.stages.evaluation.suite import evaluate_suite
from facever.verification.reporting import report
from facever.verification.reporting.suite_page import latex_table
from facever.verification.uncertainty.error_bars import folder_bootstrap
from facever.verification.uncertainty.many_tests import holm


def write_pairs(path: Path, people: range) -> Path:
    """All genuine pairs of some people's four crops, and as many of neighbours."""
    genuine = [
        (f"P{p}/{a}.png", f"P{p}/{b}.png", 1)
        for p in people
        for a, b in combinations(range(4), 2)
    ]
    size = len(people)
    impostor = [
        (
            left,
            f"P{people[(people.index(int(left[1:-6])) + 1) % size]}/{place % 4}.png",
            0,
        )
        for place, (left, _, _) in enumerate(genuine)
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("left", "right", "same"), *genuine, *impostor])
    return path


@pytest.fixture
def world(
    tmp_path: Path, make_store: Callable[..., Path], make_model: Callable[..., Path]
) -> dict[str, Any]:
    """What a config of two sets and three models says."""
    store = make_store(tmp_path / "crops", num_crops=[4] * 12)
    rng = np.random.default_rng(0)
    images = [f"P{p}/{n}.png" for p in range(12) for n in range(4)]
    vectors = rng.normal(size=(12, 8)).repeat(4, axis=0) + 0.8 * rng.normal(
        size=(48, 8)
    )
    noisy = tmp_path / "noisy.npz"
    np.savez(noisy, embeddings=vectors.astype(np.float32), images=np.array(images))
    sets = {
        name: {
            "pairs": str(write_pairs(tmp_path / f"{name}.csv", people)),
            "crops": str(store),
        }
        for name, people in (("young", range(6)), ("old", range(3, 12)))
    }
    return {
        "models": {
            "ours & theirs": str(make_model(tmp_path / "a.safetensors")),
            "other_seed": str(make_model(tmp_path / "b.safetensors", seed=5)),
            "noisy": {"old": str(noisy)},
        },
        "sets": sets,
        "judging": {"pca": False},
    }


@pytest.fixture(autouse=True)
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dozens of reports, whose figures other tests look at."""

    def touch(paths: dict[str, Path], _: object) -> None:
        for path in paths.values():
            path.touch()

    for name in ("save_roc", "save_det"):
        monkeypatch.setattr(report, name, touch)


def run(world: dict[str, Any], out: Path) -> tuple[Any, list[str]]:
    said: list[str] = []
    return evaluate_suite(SuiteConfig.model_validate(world), out, said.append), said


class Nested(HTMLParser):
    """Fails where tags are not well nested."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.links: list[str] = []
        self.feed(page)
        assert not self.stack

    def handle_starttag(self, tag, attrs) -> None:
        if tag not in ("meta", "img", "wbr", "br"):
            self.stack.append(tag)
        self.links += [value for name, value in attrs if name == "href" and value]

    def handle_startendtag(self, tag, attrs) -> None:
        pass

    def handle_endtag(self, tag) -> None:
        assert self.stack.pop() == tag


def test_the_table_has_what_single_commands_find(
    world: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "suite"
    found, _ = run(world, out)
    crops = tmp_path / "crops"
    alone: dict[tuple[str, str], Any] = {}
    for name, given in world["sets"].items():
        for model, file in world["models"].items():
            if isinstance(file, str):
                inputs = Inputs(model=file, crops=crops)
            elif name in file:
                inputs = Inputs(embeddings=file[name])
            else:
                assert found.cells[name][model].evaluation is None
                assert not found.cells[name][model].failed
                continue
            report = evaluate_list(
                tmp_path / "alone", given["pairs"], inputs, Judging(pca=False)
            )
            alone[name, model] = report.evaluations["cosine"]
    assert len(alone) == 5
    compared = [key for key in alone if key[1] != "ours & theirs"]
    differences = {
        key: compare_evaluations(alone[key], alone[key[0], "ours & theirs"])
        for key in compared
    }
    corrected = holm([differences[key].accuracy.p_value for key in compared])
    for (name, model), evaluation in alone.items():
        cell = found.cells[name][model]
        assert cell.evaluation is not None
        np.testing.assert_array_equal(cell.evaluation.scores, evaluation.scores)
        assert cell.evaluation.accuracy == evaluation.accuracy
        assert cell.intervals == folder_bootstrap(evaluation)
        assert cell.difference == differences.get((name, model))
    for key, p_value in zip(compared, corrected, strict=True):
        assert found.cells[key[0]][key[1]].p_value == p_value
    assert found.failure() is None


def test_files_for_people_programs_and_papers(
    world: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "suite"
    found, _ = run(world, out)
    page = Nested((out / "suite.html").read_text(encoding="utf-8"))
    assert page.links
    assert all((out / link).is_file() for link in page.links)
    with (out / "suite.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    numbers = json.loads((out / "suite.json").read_text(encoding="utf-8"))
    for row, cell in zip(rows, numbers["cells"], strict=True):
        assert (row["set"], row["model"]) == (cell["set"], cell["model"])
        accuracy = cell["accuracy"]
        assert row["accuracy"] == ("" if accuracy is None else repr(accuracy))
    latex = (out / "suite.tex").read_text(encoding="utf-8")
    assert latex == latex_table(found.cells, "ours & theirs")
    assert r"ours \& theirs (baseline) & " in latex
    assert r"other\_seed & " in latex
    assert r"noisy & -- & " in latex
    rows_of_table = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in rows_of_table} == {2}
    assert latex.count(r"\textbf") >= 2


def test_what_is_done_is_kept_and_what_has_changed_is_done_again(
    world: dict[str, Any], tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    out = tmp_path / "suite"
    first, said = run(world, out)
    assert len(said) == 5
    again, said = run(world, out)
    assert said == []
    assert again.to_dict() == first.to_dict()
    # From here on one set, and two models.
    world["sets"] = {"old": world["sets"]["old"]}
    world["models"] = {
        "noisy": world["models"]["noisy"],
        "added": str(make_model(tmp_path / "c.safetensors", seed=9)),
    }
    _, said = run(world, out)
    assert said == ["old, added (2 of 2)"]
    make_model(tmp_path / "c.safetensors", seed=10)
    (out / "old" / "noisy" / "made-of.json").write_text("{")
    _, said = run(world, out)
    assert said == ["old, noisy (1 of 2)", "old, added (2 of 2)"]
    del world["models"]["added"]
    pairs = Path(world["sets"]["old"]["pairs"])
    pairs.write_text("\n".join(pairs.read_text().splitlines()[:-1]))
    _, said = run(world, out)
    assert said == ["old, noisy (1 of 1)"]


def test_whatever_decides_a_report_makes_it_anew(
    world: dict[str, Any],
    tmp_path: Path,
    make_store: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noisy = Path(world["models"]["noisy"]["old"])
    world["sets"] = {"old": world["sets"]["old"]}
    world["models"] = {"noisy": world["models"]["noisy"]}

    def other_embeddings() -> None:
        with np.load(noisy) as saved:
            found = {"embeddings": saved["embeddings"][::-1], "images": saved["images"]}
        np.savez(noisy, **found)

    def other_crops() -> None:
        shutil.rmtree(tmp_path / "crops")
        make_store(tmp_path / "crops", num_crops=[4] * 12, seed=1)

    changes: dict[str, Callable[[], Any]] = {
        "nothing yet": lambda: None,
        "the measure": lambda: world["judging"].update(measure="euclidean"),
        "missing photos": lambda: world["judging"].update(missing="lowest"),
        "the protocol": lambda: world["sets"]["old"].update(protocol="lfw"),
        "the crops": other_crops,
        "where pictures are": lambda: world["sets"]["old"].pop("crops"),
        "the embeddings": other_embeddings,
        "facever": lambda: monkeypatch.setattr(suite, "__version__", "0.0.dev0"),
    }
    for what, change in changes.items():
        change()
        for expected in (["old, noisy (1 of 1)"], []):
            assert run(world, tmp_path / "suite")[1] == expected, what


def test_a_report_that_was_stopped_is_not_taken_for_done(
    world: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made anew for another measure, killed in its midst, and asked for as before."""
    world["sets"] = {"old": world["sets"]["old"]}
    world["models"] = {"noisy": world["models"]["noisy"]}
    out = tmp_path / "suite"
    run(world, out)
    with monkeypatch.context() as patched:
        patched.setattr(suite, "evaluate_protocol", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(world | {"judging": {"pca": False, "measure": "euclidean"}}, out)
    assert run(world, out)[1] == ["old, noisy (1 of 1)"]


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_model_that_fails_on_a_set_stands_in_the_table(
    world: dict[str, Any], tmp_path: Path, command: Callable[..., Any]
) -> None:
    broken = tmp_path / "broken.npz"
    np.savez(broken, embeddings=np.full((2, 4), np.nan), images=np.array(["a", "b"]))
    world["models"]["noisy"]["young"] = str(broken)
    config = tmp_path / "suite.yaml"
    config.write_text(json.dumps(world))
    out = tmp_path / "suite"
    finished = command("evaluate", "suite", config, "--out", out)
    assert finished.code == 2
    assert "young, noisy: failed: " in finished.out
    assert "young, other_seed: " in finished.out
    assert "1 of the suite failed: noisy on young" in finished.err
    page = (out / "suite.html").read_text(encoding="utf-8")
    assert ">failed<" in page
    [reason] = [line for line in finished.out.splitlines() if "noisy: failed" in line]
    assert f"<b>noisy on young:</b> {escape(reason.partition('failed: ')[2])}" in page
    world["models"]["noisy"]["young"] = world["models"]["noisy"]["old"]
    found, said = run(world, out)
    assert [line.split(" (")[0] for line in said] == ["young, noisy"]
    assert found.failure() is None


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (
            lambda w: w["sets"]["old"].update(protocol="lwf"),
            ConfigError,
            "sets.old.pro",
        ),
        (
            lambda w: w["sets"]["old"].update(pairs="none.csv"),
            FileError,
            "sets.old.pai",
        ),
        (lambda w: w["sets"]["old"].update(photos="x"), ConfigError, "not both"),
        (lambda w: w["sets"]["old"].pop("crops"), ConfigError, "needs photos or crops"),
        (lambda w: w["sets"]["old"].update(protocol="bin"), ConfigError, "holds its"),
        (lambda w: w["sets"]["old"].update(protocol="ytf"), ConfigError, "frames"),
        (lambda w: w["models"].update(gone="gone.onnx"), FileError, "models.gone: .*x"),
        (
            lambda w: w["models"]["noisy"].update(young="gone.npz"),
            FileError,
            "models.noisy.young: there is no file gone.npz",
        ),
    ],
)
def test_slips_are_found_before_the_work(
    world: dict[str, Any], tmp_path: Path, change, kind: type[Exception], said: str
) -> None:
    change(world)
    with pytest.raises(kind, match=said):
        run(world, tmp_path / "suite")
    assert not (tmp_path / "suite" / "young").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: {a: m}\nsets: {s: {pairs: p}}\nbaseline: b", "baseline must be one"),
        ("models: {a: {t: x}}\nsets: {s: {pairs: p}}", "models.a must name sets"),
        ("models: {a b: m, a-b: n}\nsets: {s: {pairs: p}}", "would share a folder"),
        ("models: {compared: m}\nsets: {s: {pairs: p}}", "no model can be called 'com"),
        ("models: {}\nsets: {s: {pairs: p}}", "models"),
        ("models: {a: m}\nsets: {s: {pears: p}}", "sets.s.pairs is missing"),
    ],
)
def test_configs_that_say_nothing_sensible(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_config(SuiteConfig, path)


def test_a_model_without_a_pca_takes_it_from_all_of_a_set_and_that_is_said(
    world: dict[str, Any], tmp_path: Path
) -> None:
    with np.load(world["models"]["noisy"]["old"]) as noisy:
        few = {"embeddings": noisy["embeddings"][-3:], "images": noisy["images"][-3:]}
    np.savez(tmp_path / "few.npz", **few)
    world["models"] = {
        "noisy": {name: world["models"]["noisy"]["old"] for name in world["sets"]},
        "few": {"old": str(tmp_path / "few.npz")},
    }
    del world["judging"]
    found, _ = run(world, tmp_path / "suite")
    young, old = found.cells["young"], found.cells["old"]
    assert young["noisy"].way == "PCA to 4, cosine"
    assert {old[model].way for model in ("noisy", "few")} == {"cosine"}
    # It knows three photos, and a PCA to 4 takes more.
    num_pairs = len(old["few"].evaluation.pairs)
    num_missing = old["few"].evaluation.num_missing_pairs
    assert 0 < num_missing < num_pairs
    said = f"by cosine, {num_missing} of {num_pairs} pairs without a photo"
    assert any(said in line for line in found.lines())
    page = (tmp_path / "suite" / "suite.html").read_text(encoding="utf-8")
    assert f"{num_missing} of {num_pairs} pairs not scored" in page


def test_two_alike_differ_by_nothing_and_without_a_sign(
    world: dict[str, Any], tmp_path: Path
) -> None:
    noisy = world["models"]["noisy"]
    world["models"] = {"first": noisy, "second": noisy}
    found, _ = run(world, tmp_path / "suite")
    assert any("+0.00 % against first (95% interval +0.00" in x for x in found.lines())
    page = (tmp_path / "suite" / "suite.html").read_text(encoding="utf-8")
    assert "-0.0" not in page
    assert '"-0.0' not in (tmp_path / "suite" / "suite.csv").read_text()


def test_one_model_has_nothing_to_be_compared_with(
    world: dict[str, Any], tmp_path: Path
) -> None:
    world["models"] = {"alone": world["models"]["other_seed"]}
    found, _ = run(world, tmp_path / "suite")
    assert all(cells["alone"].difference is None for cells in found.cells.values())
    page = (tmp_path / "suite" / "suite.html").read_text(encoding="utf-8")
    assert "Differences" not in page
    assert '<p class="lead">2 sets.</p>' in page
    del world["sets"]["old"]
    run(world, tmp_path / "one")
    page = (tmp_path / "one" / "suite.html").read_text(encoding="utf-8")
    assert '<p class="lead">1 set.</p>' in page


def test_the_baseline_may_be_missing_on_a_set(
    world: dict[str, Any], tmp_path: Path
) -> None:
    found, _ = run(world | {"baseline": "noisy"}, tmp_path / "suite")
    of_young, of_old = found.cells["young"], found.cells["old"]
    assert all(cell.difference is None for cell in of_young.values())
    assert of_old["other_seed"].difference is not None
    assert of_old["noisy"].difference is None
