"""LFW as templates: lists in IJB-C's layout, of people with several photos.

    facever align lfw-deepfunneled LFW --template 112x112 --face center
    facever embed sface LFW lfw-sface.npz
    python eval/lfw_templates.py --crops LFW --out lists
    facever evaluate templates --embeddings lfw-sface.npz --templates \
lists/lfw_face_tid_mid.txt --pairs lists/lfw_template_pair_label.txt --gallery \
lists/lfw_1N_gallery_G1.csv --gallery lists/lfw_1N_gallery_G2.csv --probes \
lists/lfw_1N_probe_mixed.csv --out runs/lfw-templates

Of everybody with two photos or more, the first half (by number, rounded up) is the
enrolled template, and the others are probe templates of up to three photos. A person
with one photo is a probe template of one photo. Each photo is a medium. The pairs are
all enrolled with all probe templates; the enrolled people are dealt in turn, in
alphabetical order, into two galleries.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from facever.data.store.crop_store import CropStore

_PHOTOS_OF_PROBE = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--crops", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    store = CropStore.open(options.crops)
    options.out.mkdir(parents=True, exist_ok=True)

    photos_of: dict[str, list[str]] = {}
    for source in sorted(store.sources):
        photos_of.setdefault(source.partition("/")[0], []).append(source)
    enrolled: list[tuple[int, int, list[str]]] = []
    probes: list[tuple[int, int, list[str]]] = []
    number = 0
    for subject, photos in enumerate(photos_of.values(), start=1):
        half = (len(photos) + 1) // 2 if len(photos) > 1 else 0
        if half:
            number += 1
            enrolled.append((number, subject, photos[:half]))
        for start in range(half, len(photos), _PHOTOS_OF_PROBE):
            number += 1
            probes.append((number, subject, photos[start : start + _PHOTOS_OF_PROBE]))

    write_templates(options.out / "lfw_face_tid_mid.txt", [*enrolled, *probes])
    write_pairs(options.out / "lfw_template_pair_label.txt", enrolled, probes)
    write_subjects(options.out / "lfw_1N_gallery_G1.csv", enrolled[::2])
    write_subjects(options.out / "lfw_1N_gallery_G2.csv", enrolled[1::2])
    write_subjects(options.out / "lfw_1N_probe_mixed.csv", probes)
    write_scores(options.out / "lfw_name_5pts_score.txt", store)
    print(
        f"{len(enrolled):,} enrolled and {len(probes):,} probe templates of "
        f"{len(photos_of):,} people, {len(enrolled) * len(probes):,} pairs"
    )


def write_templates(path: Path, templates: list[tuple[int, int, list[str]]]) -> None:
    medium = 0
    with path.open("w", encoding="utf-8") as file:
        for number, _, photos in templates:
            for photo in photos:
                medium += 1
                file.write(f"{photo} {number} {medium}\n")


def write_pairs(
    path: Path,
    enrolled: list[tuple[int, int, list[str]]],
    probes: list[tuple[int, int, list[str]]],
) -> None:
    numbers, subjects = np.array([probe[:2] for probe in probes]).T
    with path.open("w", encoding="utf-8") as file:
        for number, subject, _ in enrolled:
            same = (subjects == subject).astype(int)
            file.writelines(
                f"{number} {probe} {label}\n"
                for probe, label in zip(numbers.tolist(), same.tolist(), strict=True)
            )


def write_subjects(path: Path, templates: list[tuple[int, int, list[str]]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["TEMPLATE_ID", "SUBJECT_ID", "FILENAME"])
        for number, subject, photos in templates:
            writer.writerows((number, subject, photo) for photo in photos)


def write_scores(path: Path, store: CropStore) -> None:
    with path.open("w", encoding="utf-8") as file:
        for source, landmarks, score in zip(
            store.sources, store.landmarks, store.scores, strict=True
        ):
            points = " ".join(f"{value:.3f}" for value in np.ravel(landmarks))
            file.write(f"{source} {points} {score:.6f}\n")


if __name__ == "__main__":
    main()
