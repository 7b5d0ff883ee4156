"""``facever gallery search``: who in a gallery is on a photo, or on many."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facever.choices import By
from facever.errors import DataError, GalleryError, PhotoError
from facever.faces.aligner import NO_FACE
from facever.faces.photo_source import PhotoSource
from facever.gallery.answering import answer, is_same, threshold_rule
from facever.gallery.entries import Filter, Match
from facever.gallery.opening import Place, open_gallery
from facever.inference.embedder import Embedder, load
from facever.progress import progress_bar
from facever.stages.gallery.console import print_json, print_table
from facever.stages.gallery.enroll import fingerprint_of
from facever.stages.gallery.faces import find_faces, is_photo, make_aligner
from facever.stages.gallery.fields import parse_fields


def search(
    gallery: Place,
    model: Path | None,
    photo: Path,
    k: int = 5,
    as_json: bool = False,
    by: By = "photo",
    names: Sequence[str] = (),
    fields: Sequence[str] = (),
) -> dict[str, list[Match]]:
    """Print who in a gallery resembles the largest face of a photo, or of many.

    Args:
        gallery: The gallery's folder or URL.
        model: The model file to embed with; it must be the one of the gallery. An
            embeddings file needs none.
        photo: With at least one face. Or what ``add`` takes: all of its faces are
            looked up, and those without one are listed with the reason.
        k: How many matches to print, at least 1; of many photos each one's best alone
            is in the table.
        as_json: Print one JSON object in place of a table.
        by: Whether each photo is a match, or each person by the ``best`` or the
            ``mean`` of their photos.
        names: Search these people alone.
        fields: Search photos of these fields alone, each ``key=value``.

    Returns:
        The matches of each photo that could be looked up, by its source.

    Raises:
        PhotoError: If the single photo cannot be read.
        DataError: If no face is found in it.
        FileError: If the gallery or the model file is missing or damaged.
        MismatchError: If the gallery was made for another model.
        GalleryError: If the gallery is empty.
        ParameterError: If ``k`` is below 1.
    """
    where = Filter(names, parse_fields(fields))
    embedder = None if model is None else load(model)
    with open_gallery(gallery, fingerprint_of(embedder, photo)) as people:
        if not len(people):
            raise GalleryError(
                f"{gallery}: nobody is enrolled yet; add photos with gallery add"
            )
        header = None if embedder is None else embedder.header
        rule = threshold_rule(people.info().threshold, header, by)
        if is_photo(photo) and embedder is not None:
            embedding, num_faces = _embed_photo(photo, embedder)
            [matches] = people.search(embedding, k, by, where)
            if as_json:
                asked = {"photo": photo.name, "num_faces": num_faces, "face": "largest"}
                print_json(asked | rule | answer(matches, rule))
            else:
                _print_matches(photo, num_faces, rule, matches)
            return {photo.name: matches}
        faces = find_faces(photo, embedder)
        found: dict[str, list[Match]] = {}
        failed: dict[str, str] = {}
        rows = range(len(faces.sources))
        with progress_bar("search", len(rows), "faces") as advance:
            for start in rows[:: faces.batch]:
                batch = rows[start : start + faces.batch]
                embedded = faces.embed(batch)
                well = {r: e for r, e in embedded.items() if not isinstance(e, str)}
                failed |= {
                    faces.sources[r]: reason
                    for r, reason in embedded.items()
                    if isinstance(reason, str)
                }
                if well:
                    answers = people.search(np.stack([*well.values()]), k, by, where)
                    found |= {
                        faces.sources[r]: a for r, a in zip(well, answers, strict=True)
                    }
                advance(len(batch))
    _show_many(found, failed, rule, as_json)
    return found


def _embed_photo(photo: Path, embedder: Embedder) -> tuple[np.ndarray, int]:
    [aligned] = make_aligner("all").align([PhotoSource(str(photo), "", photo)])
    if aligned.reason is not None:
        kind = DataError if aligned.reason == NO_FACE else PhotoError
        raise kind(f"{photo}: {aligned.reason}")
    # The largest face comes first.
    return embedder.embed_crops(aligned.crops[:1]), len(aligned.crops)


def _print_matches(
    photo: Path, num_faces: int, rule: dict[str, Any], matches: Sequence[Match]
) -> None:
    faces = "its only face" if num_faces == 1 else f"the largest of {num_faces} faces"
    print(f"{photo}: {faces}")
    columns = ["", "name", "cosine", "photo"]
    rows = [
        [str(rank), match.name, f"{match.cosine:.4f}", match.source]
        for rank, match in enumerate(matches, start=1)
    ]
    if rule["threshold"] is not None:
        columns.insert(3, "same person")
        for row, match in zip(rows, matches, strict=True):
            row.insert(3, "yes" if is_same(match.cosine, rule) else "no")
    print_table(columns, rows)
    if rule["threshold"] is not None:
        who = answer(matches, rule)
        print(f"This is {who['name'] if who['known'] else 'nobody enrolled'}.")
    print(_rule_in_words(rule))


def _rule_in_words(rule: dict[str, Any]) -> str:
    if rule["threshold"] is None:
        return "No threshold is set for this: these are the nearest, whoever it is."
    what = {
        "threshold_far": "a false accept rate",
        "threshold_fpir": "a share of unknown people taken for somebody",
    }
    rates = [
        f", set for {words} of {rule[key]:g}"
        for key, words in what.items()
        if rule.get(key) is not None
    ]
    return f"Same person: cosine above {rule['threshold']:.4f}{''.join(rates)}."


def _show_many(
    found: dict[str, list[Match]],
    failed: dict[str, str],
    rule: dict[str, Any],
    as_json: bool,
) -> None:
    if as_json:
        answers = [{"photo": s} | answer(m, rule) for s, m in found.items()]
        print_json({**rule, "photos": answers, "failed": failed})
        return
    rows = []
    for source, matches in found.items():
        known = not matches or is_same(matches[0].cosine, rule) is False
        best = [matches[0].name, f"{matches[0].cosine:.4f}"] if matches else ["", ""]
        rows.append([source, "nobody" if known else best[0], *best])
    print_table(["photo", "this is", "nearest", "cosine"], rows)
    for source, reason in failed.items():
        print(f"  no answer for {source}: {reason}")
    print(_rule_in_words(rule))
