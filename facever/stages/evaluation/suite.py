"""``facever evaluate suite``: models on sets of pairs, one table with tests."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facever.config.suite import COMPARED, SuiteConfig
from facever.config.tables import folder_name
from facever.csv_tables import write_csv
from facever.data.store.crop_store import CropStore
from facever.data.store.folder import STORE_FILE
from facever.errors import ConfigError, DataError, FaceverError, FileError
from facever.files import check_folder_place, whole_file
from facever.foreign_files import read_json
from facever.inference.model_file import load_model
from facever.results import Result, plain
from facever.stages.evaluation.compare import (
    choose_alike,
    find_pictures,
    write_comparison,
)
from facever.stages.evaluation.evaluate import evaluate_bin, evaluate_protocol
from facever.stages.evaluation.features import Inputs, sha256
from facever.stages.evaluation.judging import Judging
from facever.stages.evaluation.pair_protocols import PAIR_PROTOCOLS
from facever.stages.evaluation.read_report import read_report
from facever.stages.evaluation.videos import evaluate_ytf
from facever.verification.reporting.markup import Setting
from facever.verification.reporting.report import PAGE_FILE
from facever.verification.reporting.suite_page import (
    COLUMNS,
    SuiteCell,
    latex_table,
    render_suite,
    suite_numbers,
    suite_rows,
)
from facever.verification.uncertainty.many_tests import holm
from facever.version import __version__

SUITE_PAGE = "suite.html"
SUITE_JSON = "suite.json"
SUITE_CSV = "suite.csv"
SUITE_LATEX = "suite.tex"
MADE_FILE = "made-of.json"

_PROTOCOLS = (*PAIR_PROTOCOLS, "bin", "ytf")


@dataclass(frozen=True)
class SuiteReport(Result):
    """Models on sets of pairs, and where the page is.

    Attributes:
        baseline: The model that the others are compared with.
        cells: What each model reached, by set and model.
        page: The page; ``suite.json``, ``suite.csv`` and ``suite.tex`` lie beside it.
    """

    baseline: str
    cells: dict[str, dict[str, SuiteCell]]
    page: Path

    def lines(self) -> list[str]:
        """A line for each set and model, and one for the page."""
        return [
            *(
                f"{of_set}, {model}: {_said(cell, self.baseline)}"
                for of_set, cells in self.cells.items()
                for model, cell in cells.items()
                if cell != SuiteCell()
            ),
            f"table: {self.page.with_name(SUITE_CSV)}, for a paper "
            f"{self.page.with_name(SUITE_LATEX)}",
            f"page: {self.page}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """The baseline, a dictionary for each set and model, and the page."""
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in suite_rows(self.cells)]
        found: dict[str, Any] = plain(
            {"baseline": self.baseline, "cells": rows, "page": self.page}
        )
        return found

    def failure(self) -> FaceverError | None:
        """The error that the command ends with where a model failed on a set."""
        failed = [
            f"{model} on {of_set}"
            for of_set, cells in self.cells.items()
            for model, cell in cells.items()
            if cell.failed
        ]
        if not failed:
            return None
        return DataError(
            f"{len(failed)} of the suite failed: {', '.join(failed)}; the others are "
            "in the table, and the same command tries these again"
        )


def evaluate_suite(
    config: SuiteConfig, out: str | Path, say: Callable[[str], None] = lambda _: None
) -> SuiteReport:
    """Evaluate every model on every set, and put them into one table.

    Each model's report on a set is a folder ``out/SET/MODEL``, and the models side by
    side are ``out/SET/compared``. A report that is there already, of the same model,
    pairs, crops and way to compare, is kept, so that a run that was stopped goes on,
    and a model that is added costs itself alone. Whether photos in a folder have
    changed is not looked at. A model that fails on a set is named in the table with its
    reason, and the others go on.

    Args:
        config: The models and sets.
        out: The folder of all reports and of the table.
        say: Gets a line for a person before each report is made.

    Returns:
        What each model reached.

    Raises:
        ConfigError: If a set's protocol does not exist, or lacks what it needs.
        FileError: If a list of pairs, a crop store, a model or a file of embeddings is
            missing; before anything is evaluated.
        FaceverError: If a model cannot be used at all.
    """
    out = Path(out)
    check_folder_place(out)
    _check_sets(config)
    made_of = _fingerprints(config)
    failed: dict[tuple[str, str], str] = {}
    for number, (of_set, model) in enumerate(made_of, start=1):
        folder = _folder(out, of_set, model)
        if _is_done(folder, made_of[of_set, model]):
            continue
        say(f"{of_set}, {model} ({number} of {len(made_of)})")
        try:
            _evaluate(config, of_set, model, folder)
        except FaceverError as error:
            failed[of_set, model] = str(error)
            say(f"{of_set}, {model} failed: {error}")
            continue
        with whole_file(folder / MADE_FILE) as temporary:
            temporary.write_text(json.dumps(made_of[of_set, model], indent=2))
    cells = {
        of_set: _cells_of_set(config, out, of_set, made_of, failed)
        for of_set in config.sets
    }
    return _write(config, out, _corrected(cells))


def _check_sets(config: SuiteConfig) -> None:
    for name, given in config.sets.items():
        if given.protocol not in _PROTOCOLS:
            raise ConfigError(
                f"sets.{name}.protocol must be one of {', '.join(_PROTOCOLS)}, got "
                f"{given.protocol!r}"
            )
        if not Path(given.pairs).exists():
            raise FileError(f"sets.{name}.pairs: there is no {given.pairs}")
        if given.photos and given.crops:
            raise ConfigError(f"sets.{name}: give photos or crops, not both")
        of_files = [m for m, g in config.models.items() if isinstance(g, str)]
        if given.protocol == "bin" and (given.photos or given.crops):
            raise ConfigError(f"sets.{name}: a .bin holds its photos, give pairs alone")
        if of_files and given.protocol != "bin" and not (given.photos or given.crops):
            raise ConfigError(
                f"sets.{name}: {of_files[0]} needs photos or crops of the set"
            )
        if given.protocol == "ytf" and given.crops:
            raise ConfigError(f"sets.{name}: ytf takes photos, the folder of frames")
    for model, files in config.models.items():
        for name, file in files.items() if isinstance(files, dict) else ():
            if not Path(file).is_file():
                raise FileError(f"models.{model}.{name}: there is no file {file}")


def _fingerprints(config: SuiteConfig) -> dict[tuple[str, str], dict[str, Setting]]:
    """By set and model, all that decides a report, for those that are asked for."""
    models = {
        name: _of_model(name, given)
        for name, given in config.models.items()
        if isinstance(given, str)
    }
    found: dict[tuple[str, str], dict[str, Setting]] = {}
    for of_set, pairs in config.sets.items():
        shared: dict[str, Setting] = {
            **pairs.model_dump(),
            "pairs_sha256": sha256(Path(pairs.pairs)),
            "crops_sha256": pairs.crops and _of_crops(of_set, pairs.crops),
            **config.judging.model_dump(),
            "facever": __version__,
        }
        for model, given in config.models.items():
            if isinstance(given, str):
                found[of_set, model] = {**shared, "model": models[model]}
            elif of_set in given:
                content = sha256(Path(given[of_set]))
                found[of_set, model] = {**shared, "embeddings": content}
    return found


def _of_model(name: str, model: str) -> str:
    with _said_of(f"models.{name}"):
        return load_model(model).fingerprint


def _of_crops(of_set: str, crops: str) -> str:
    with _said_of(f"sets.{of_set}.crops"):
        # It holds the digests of all that the store consists of.
        return sha256(CropStore.open(crops).folder / STORE_FILE)


@contextmanager
def _said_of(key: str) -> Iterator[None]:
    """Name the key of the config in whatever is wrong."""
    try:
        yield
    except FaceverError as error:
        raise type(error)(f"{key}: {error}") from None


def _folder(out: Path, of_set: str, model: str) -> Path:
    return out / folder_name(of_set) / folder_name(model)


def _is_done(folder: Path, made_of: Mapping[str, Setting]) -> bool:
    try:
        return bool(read_json(folder / MADE_FILE) == made_of)
    except (OSError, ValueError):  # There is none, or it is damaged.
        return False


def _evaluate(config: SuiteConfig, of_set: str, model: str, folder: Path) -> None:
    given, pairs = config.models[model], config.sets[of_set]
    if isinstance(given, str):
        inputs = Inputs(model=given, photos=pairs.photos, crops=pairs.crops)
    else:
        inputs = Inputs(embeddings=given[of_set], crops=pairs.crops)
    judging = Judging(**config.judging.model_dump())
    (folder / MADE_FILE).unlink(missing_ok=True)
    if pairs.protocol == "bin":
        evaluate_bin(folder, pairs.pairs, inputs, judging)
    elif pairs.protocol == "ytf":
        evaluate_ytf(folder, pairs.pairs, inputs, judging)
    else:
        protocol = PAIR_PROTOCOLS[pairs.protocol]
        evaluate_protocol(protocol, folder, pairs.pairs, inputs, judging)


def _cells_of_set(
    config: SuiteConfig,
    out: Path,
    of_set: str,
    made_of: Mapping[tuple[str, str], object],
    failed: Mapping[tuple[str, str], str],
) -> dict[str, SuiteCell]:
    """Read the reports on a set, compare them, and write them side by side."""
    reports = {
        model: read_report(_folder(out, of_set, model))
        for model in config.models
        if (of_set, model) in made_of and (of_set, model) not in failed
    }
    cells = {model: SuiteCell() for model in config.models}
    cells |= {
        model: SuiteCell(failed=reason)
        for (name, model), reason in failed.items()
        if name == of_set
    }
    if not reports:
        return cells
    chosen, notes = choose_alike(reports)
    compared = write_comparison(
        out / folder_name(of_set) / COMPARED,
        {model: report.evaluations[chosen[model]] for model, report in reports.items()},
        {model: report.describe(chosen[model]) for model, report in reports.items()},
        f"{of_set}, {len(reports)} models",
        find_pictures(reports.values()),
        notes,
        config.baseline_model,
    )
    differences = {
        first if second == config.baseline_model else second: (
            found if second == config.baseline_model else found.turned()
        )
        for (first, second), found in compared.differences.items()
    }
    for model, evaluation in compared.evaluations.items():
        intervals = compared.intervals[model]
        cells[model] = SuiteCell(
            evaluation, intervals, differences.get(model), way=chosen[model]
        )
    return cells


def _corrected(
    cells: Mapping[str, Mapping[str, SuiteCell]],
) -> dict[str, dict[str, SuiteCell]]:
    """The cells with p-values that are corrected over all differences."""
    tested = [
        (of_set, model, cell.difference.accuracy.p_value)
        for of_set, of_models in cells.items()
        for model, cell in of_models.items()
        if cell.difference is not None
    ]
    corrected = holm([p_value for _, _, p_value in tested])
    found = {of_set: dict(of_models) for of_set, of_models in cells.items()}
    for (of_set, model, _), p_value in zip(tested, corrected, strict=True):
        found[of_set][model] = replace(found[of_set][model], p_value=p_value)
    return found


def _write(
    config: SuiteConfig, out: Path, cells: dict[str, dict[str, SuiteCell]]
) -> SuiteReport:
    baseline = config.baseline_model
    pages = {
        of_set: {
            model: f"{folder_name(of_set)}/{folder_name(model)}/{PAGE_FILE}"
            for model in of_models
        }
        | {"": f"{folder_name(of_set)}/{COMPARED}/{PAGE_FILE}"}
        for of_set, of_models in cells.items()
    }
    settings: dict[str, Setting] = {
        **{
            f"model {name}": given
            if isinstance(given, str)
            else ", ".join(f"{of_set} {file}" for of_set, file in given.items())
            for name, given in config.models.items()
        },
        **{
            f"set {name}": ", ".join(
                f"{key} {value}" for key, value in each.model_dump().items() if value
            )
            for name, each in config.sets.items()
        },
        **config.judging.model_dump(),
    }
    numbers = suite_numbers(config.title, cells, baseline, settings)
    page = render_suite(config.title, cells, baseline, pages, settings)
    with whole_file(out / SUITE_JSON) as temporary:
        text = json.dumps(numbers, indent=2, allow_nan=False, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    with whole_file(out / SUITE_CSV) as temporary:
        write_csv(temporary, COLUMNS, suite_rows(cells), for_people=True)
    with whole_file(out / SUITE_LATEX) as temporary:
        temporary.write_text(latex_table(cells, baseline), encoding="utf-8")
    with whole_file(out / SUITE_PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return SuiteReport(baseline, cells, out / SUITE_PAGE)


def _said(cell: SuiteCell, baseline: str) -> str:
    """A model on a set, in words."""
    if cell.evaluation is None:
        return f"failed: {cell.failed}"
    said = (
        f"{100 * cell.evaluation.accuracy:.2f} ± "
        f"{100 * cell.evaluation.standard_error:.2f} %"
    )
    said += f" by {cell.way}"
    if missing := cell.evaluation.num_missing_pairs:
        num_pairs = len(cell.evaluation.pairs)
        said += f", {missing:,} of {num_pairs:,} pairs without a photo"
    if cell.difference is None or cell.p_value is None:
        return said
    ends = cell.difference.accuracy.interval
    return (
        f"{said}, {100 * cell.difference.accuracy.value:+.2f} % against {baseline} "
        f"({ends.level:.0%} interval {100 * ends.low:+.2f} to {100 * ends.high:+.2f}, "
        f"p = {cell.p_value:.3g} corrected)"
    )
