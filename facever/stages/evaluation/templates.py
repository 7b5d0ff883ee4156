"""``facever evaluate templates``: IJB-B, IJB-C, and other sets of photos of people."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, Int64

from facever.choices import DEFAULT_FACE
from facever.errors import DataError, ParameterError
from facever.files import whole_file
from facever.progress import progress_bar, waiting
from facever.results import Result, plain
from facever.stages.evaluation.features import (
    Features,
    Inputs,
    find_features,
    sha256,
)
from facever.stages.evaluation.report_folder import check_report_folder
from facever.verification.identification.template_search import (
    TemplateSearch,
    check_searches,
    search_templates,
)
from facever.verification.photo_matching import find_rows
from facever.verification.protocols.template_lists import (
    TemplateList,
    read_photo_scores,
    read_template_pairs,
    read_template_subjects,
    read_templates,
)
from facever.verification.protocols.template_pooling import (
    PooledTemplates,
    pool_templates,
)
from facever.verification.reporting.charts.documents import (
    save_cmc,
    save_det,
    save_roc,
)
from facever.verification.reporting.markup import Setting
from facever.verification.reporting.templates_numbers import (
    TemplatesEvaluation,
    templates_numbers,
)
from facever.verification.reporting.templates_page import render_templates
from facever.verification.template_verification import (
    TemplateVerification,
    compare_templates,
    verify_templates,
)

NUMBERS_FILE = "templates.json"
SCORES_FILE = "scores.npy"
PICTURE_FILE = "cmc.png"
PAGE_FILE = "report.html"
_KINDS: tuple[Literal["png", "svg"], ...] = ("png", "svg")
_SHOWN_RANKS = (1, 5, 10)


@dataclass(frozen=True)
class TemplatesReport(Result):
    """What the evaluation of templates found, and where its report is.

    Attributes:
        title: The report's title.
        found: All numbers.
        notes: What a reader of the numbers must know, a line each.
        page: The report's page; the other files lie beside it.
    """

    title: str
    found: TemplatesEvaluation
    notes: tuple[str, ...]
    page: Path

    def lines(self) -> list[str]:
        """A line for the templates, pairs, each gallery and note, and the report."""
        return [
            self.title,
            *_pair_lines(self.found.verified),
            *_search_lines(self.found.searched),
            *self.notes,
            f"report: {self.page}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """The numbers, named as in ``templates.json``, and the report's path."""
        numbers: dict[str, Any] = plain(
            {
                **templates_numbers(self.found, {}),
                "notes": self.notes,
                "report": self.page,
            }
        )
        return numbers


def evaluate_templates(
    out: str | Path,
    templates: str | Path,
    inputs: Inputs,
    *,
    pairs: str | Path | None = None,
    galleries: Sequence[str | Path] = (),
    probes: str | Path | None = None,
    scores: str | Path | None = None,
) -> TemplatesReport:
    """Compare templates in pairs, search galleries of them, or both.

    Args:
        out: Folder that gets ``report.html`` and ``templates.json``; of pairs also
            ``scores.npy``, the score of each in float32, and the ROC and DET curves; of
            galleries also ``cmc.png``.
        templates: Which photos make each template, see ``read_templates``.
        inputs: What to take embeddings from.
        pairs: Which templates are compared, see ``read_template_pairs``.
        galleries: The enrolled templates of each gallery, see
            ``read_template_subjects``.
        probes: The templates to search for, of the same form.
        scores: The detector's scores, which the embeddings are multiplied by, see
            ``read_photo_scores``; None for equal weights.

    Returns:
        All numbers.

    Raises:
        ParameterError: If there are neither pairs nor galleries, or galleries without
            probes, or one is given twice.
        FaceverError: If an input is missing, damaged or does not fit the others.
    """
    out, templates = Path(out), Path(templates)
    gallery_of = {Path(path).stem: Path(path) for path in galleries}
    _check(pairs, galleries, gallery_of, probes)
    inputs.check()
    check_report_folder(out)
    with waiting(f"reading {templates}"):
        listed = read_templates(templates)
    compared = enrolled = searched = weights = None
    settings: dict[str, Setting] = _files(templates=templates)
    if scores:
        with waiting(f"reading {scores}"):
            weights = read_photo_scores(Path(scores), listed.photos)
        settings |= _files(scores=Path(scores))
    if pairs:
        with waiting(f"reading {pairs}"):
            compared = read_template_pairs(Path(pairs), listed)
        settings |= _files(pairs=Path(pairs))
    if probes:
        with waiting(f"reading {probes}"):
            searched = read_template_subjects(Path(probes), listed)
            enrolled = {
                name: read_template_subjects(path, listed)
                for name, path in gallery_of.items()
            }
        check_searches(enrolled, searched)
        settings |= _files(probes=Path(probes))
        for number, path in enumerate(gallery_of.values(), start=1):
            settings |= _files(**{f"gallery_{number}": path})
    features = find_features(inputs, listed.photos, out, face=DEFAULT_FACE)
    settings |= {
        **features.settings,
        "pooling": "embeddings as the network gives them, "
        + "multiplied by the detector's scores, " * (weights is not None)
        + "the mean of each medium, the sum of a template's media, scaled to length 1",
    }
    rows = find_rows(features.embeddings, features.images, listed.photos)
    pooled = _pool(features, rows, listed, weights)
    verified = None
    if compared is not None:
        with progress_bar("compare", len(compared), "pairs") as advance:
            cosines = compare_templates(pooled, compared, advance)
        with waiting(f"sorting {len(compared):,} scores"):
            verified = verify_templates(pooled, compared, cosines)
    found = TemplatesEvaluation(
        listed,
        pooled,
        int(np.count_nonzero(rows < 0)),
        verified,
        search_templates(pooled, listed, enrolled, searched)
        if enrolled and searched
        else None,
    )
    title = (
        f"{len(listed.ids):,} templates of {listed.num_media:,} media and "
        f"{len(listed.photos):,} photos"
    )
    notes = (*features.notes, *_notes(found, features))
    if notes:
        settings["notes"] = "; ".join(notes)
    _write(out, found, title, settings)
    return TemplatesReport(title, found, notes, out / PAGE_FILE)


def _check(
    pairs: str | Path | None,
    galleries: Sequence[str | Path],
    gallery_of: dict[str, Path],
    probes: str | Path | None,
) -> None:
    if bool(galleries) != bool(probes):
        given, other = ("gallery", "probes") if galleries else ("probes", "gallery")
        raise ParameterError(
            f"a search needs galleries and probes: {given} is given and no {other}"
        )
    if not pairs and not galleries:
        raise ParameterError(
            "give pairs of templates, or galleries and probes, or all of them; got none"
        )
    if len(gallery_of) < len(galleries):
        raise ParameterError(
            "galleries are told apart by the names of their files; got "
            + ", ".join(map(str, galleries))
        )


def _files(**paths: Path) -> dict[str, Setting]:
    """What a report says about the files of the protocol."""
    settings: dict[str, Setting] = {}
    for name, path in paths.items():
        settings |= {name: str(path), f"{name}_sha256": sha256(path)}
    return settings


def _pool(
    features: Features,
    rows: Int64[np.ndarray, " photos"],
    listed: TemplateList,
    weights: Float64[np.ndarray, " photos"] | None,
) -> PooledTemplates:
    if not (rows >= 0).any():
        raise DataError(
            f"none of the {len(rows):,} photos of the templates, such as "
            f"{listed.photos[0]}, has an embedding; there are {len(features.images):,}"
            + (f", such as of {features.images[0]}" if features.images else "")
        )
    with progress_bar("pool", len(listed.ids), "templates") as advance:
        return pool_templates(features.embeddings, rows, listed, weights, advance)


def _notes(found: TemplatesEvaluation, features: Features) -> Iterator[str]:
    num_used = len(found.listed.photos) - found.num_missing_photos
    if unused := len(features.images) - num_used:
        yield f"{unused:,} embeddings are of photos in no template and are not used"
    if found.num_missing_photos:
        yield (
            f"{found.num_missing_photos:,} of {len(found.listed.photos):,} photos have "
            "no embedding and are left out of their templates"
        )
    if found.missing:
        yield (
            f"{len(found.missing):,} templates have no embedding at all, such as "
            f"{found.missing[0]}: they are never accepted or found, and counted"
        )
    if found.verified and found.verified.num_repeated:
        yield (
            f"pairs listed again, which count again: {found.verified.num_repeated:,}"
        )
    if found.verified and found.verified.num_of_one:
        yield (
            "pairs of a template with itself, which any model gets right: "
            f"{found.verified.num_of_one:,}"
        )
    if found.verified and found.verified.num_contradictions:
        yield (
            f"{found.verified.num_contradictions:,} pairs are listed as of two people "
            "although pairs of one person join their templates"
        )


def _pair_lines(found: TemplateVerification | None) -> Iterator[str]:
    if found is None:
        return
    yield (
        f"{len(found.same):,} pairs, {found.roc.num_genuine:,} of one person: AUC "
        f"{100 * found.auc:.3f} %, EER {100 * found.eer:.2f} %"
    )
    for answer in found.tar:
        interval = found.tar_interval(answer)
        if answer.tar is None or interval is None:
            yield f"TAR@FAR {answer.target_far:g}: {answer.note}"
        else:
            yield (
                f"TAR@FAR {answer.target_far:g}: {answer.tar:.2%} (95% interval "
                f"{interval.low:.2%} to {interval.high:.2%}), threshold "
                f"{answer.threshold:.4f}"
            )


def _search_lines(found: TemplateSearch | None) -> Iterator[str]:
    if found is None:
        return
    curves = {name: each.cmc for name, each in found.searches.items()}
    rates = {
        name: [(answer.target_fpir, answer.tpir) for answer in each.tpir]
        for name, each in found.searches.items()
    }
    curves["mean of galleries"], rates["mean of galleries"] = found.cmc, found.tpir
    for name, cmc in curves.items():
        parts = [f"rank {r} {cmc[r - 1]:.2%}" for r in _SHOWN_RANKS if r <= len(cmc)]
        parts += [
            f"TPIR@FPIR {target:g} "
            + ("needs more probes" if tpir is None else f"{tpir:.2%}")
            for target, tpir in rates[name]
        ]
        yield f"{name}: {', '.join(parts)}"


def _write(
    out: Path, found: TemplatesEvaluation, title: str, settings: dict[str, Setting]
) -> None:
    names = [PAGE_FILE]
    if found.verified:
        names += [f"{curve}.{kind}" for curve in ("roc", "det") for kind in _KINDS]
        names.append(SCORES_FILE)
    if found.searched:
        names.append(PICTURE_FILE)
    # Renamed from last to first, so that the page never shows what is not there yet.
    with ExitStack() as stack:
        written = {
            name: stack.enter_context(whole_file(out / name))
            for name in (*names, NUMBERS_FILE)
        }
        page = render_templates(found, title, settings)
        written[PAGE_FILE].write_text(page, encoding="utf-8")
        numbers = {"title": title, **templates_numbers(found, settings)}
        text = json.dumps(numbers, indent=2, allow_nan=False, ensure_ascii=False)
        written[NUMBERS_FILE].write_text(text + "\n", encoding="utf-8")
        if found.verified:
            every, compared = found.verified.roc, found.verified.rates.roc
            roc, det = (
                {kind: written[f"{curve}.{kind}"] for kind in _KINDS}
                for curve in ("roc", "det")
            )
            save_roc(roc, {"templates": every})
            save_det(det, {"templates": compared})
            with written[SCORES_FILE].open("wb") as file:
                np.save(file, found.verified.scores.astype(np.float32))
        if found.searched:
            save_cmc(written[PICTURE_FILE], found.searched.cmc)
