"""Which face of a photo is meant: the rules of --face on LFW, beside the centre rule.

    facever align lfw-deepfunneled LFW --template 112x112 --face center
    facever embed sface LFW lfw.npz
    python eval/face_rules.py --photos PHOTOS --pairs pairs.txt --embeddings lfw.npz

LFW means the person in the middle. The photos that the pairs name are searched anew;
where a rule takes another face than the centre rule, that one is embedded instead.
Takes five to ten minutes on two CPU cores.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import facever
from facever.environment import describe_machine, describe_versions
from facever.faces.detection import choose_faces
from facever.inference.embeddings_file import read_embeddings
from facever.progress import progress_bar
from facever.verification.evaluation import evaluate_pairs
from facever.verification.protocols import read_lfw_pairs

RULES = ("center", "prominent", "largest", "best")
_BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="sface")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/face-rules.json")
    )
    options = parser.parse_args()

    pairs = read_lfw_pairs(options.pairs)
    stored = read_embeddings(options.embeddings)
    row_of = {image: row for row, image in enumerate(stored.images)}
    embedder = facever.load(options.model)
    names = sorted({*pairs.sources})
    changed = find_others(embedder, options.photos, names)
    rows = []
    for rule in RULES:
        embeddings = stored.embeddings.copy()
        for name, embedding in changed[rule].items():
            embeddings[row_of[name]] = embedding
        found = evaluate_pairs(embeddings, stored.images, pairs)
        rows.append(
            {
                "rule": rule,
                "photos_with_another_face": len(changed[rule]),
                "accuracy": found.accuracy,
                "standard_error": found.standard_error,
            }
        )
        print(
            f"{rule:10} another face in {len(changed[rule]):4} of {len(names):,} "
            f"photos, {found.accuracy:.2%} ± {found.standard_error:.2%}"
        )
    content = {
        "model": options.model,
        "num_photos": len(names),
        "rules": rows,
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
    options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def find_others(
    embedder: facever.Embedder, folder: Path, names: list[str]
) -> dict[str, dict[str, np.ndarray]]:
    """For each rule the photos where it takes another face than the centre rule."""
    changed: dict[str, dict[str, np.ndarray]] = {rule: {} for rule in RULES}
    with progress_bar("find faces", len(names), "photos") as advance:
        for start in range(0, len(names), _BATCH):
            some = names[start : start + _BATCH]
            paths = [folder / name for name in some]
            for name, photo in zip(some, embedder.align(paths, "all"), strict=True):
                if len(photo.faces) < 2:
                    continue
                size = photo.height, photo.width
                [middle] = choose_faces(photo.faces, size, "center")
                for rule in RULES:
                    [face] = choose_faces(photo.faces, size, rule)
                    if face is not middle:
                        place = [each is face for each in photo.faces].index(True)
                        crop = photo.crops[place : place + 1]
                        [changed[rule][name]] = embedder.embed_crops(crop)
            advance(len(some))
    return changed


if __name__ == "__main__":
    main()
