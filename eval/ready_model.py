"""The thresholds of a ready model: chosen on some people, checked on others.

    facever align lfw-deepfunneled LFW --template 112x112 --face center
    facever embed sface LFW lfw.npz
    python eval/ready_model.py --faces celeba-faces --test lfw.npz

--faces is a folder of aligned 112x96 photos, a folder a person, of whom --people are
drawn. A model of 112x112 sees eight columns more on either side, which these photos do
not have: the outermost column stands for them. (Black ones make strangers less alike:
the mean cosine of strangers of LFW falls from 0.103 to 0.036, with repeated columns it
is 0.105.) A threshold is that of all pairs of these photos; what it accepts is counted
over all pairs of the test photos. Takes ten minutes on two CPU cores.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import facever
from facever.environment import describe_machine, describe_versions
from facever.faces.photos import read_photo
from facever.inference.embeddings_file import read_embeddings
from facever.inference.vectors import unit_vectors
from facever.progress import progress_bar
from facever.verification.all_pairs import compare_all, count_pairs
from facever.verification.model_threshold import choose_model_threshold

FARS = (1e-2, 1e-3, 1e-4)
_CHUNK = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="sface")
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--people", type=int, default=250)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/ready-model.json")
    )
    options = parser.parse_args()

    development = embed_faces(options.model, options.faces, options.people)
    stored = read_embeddings(options.test)
    names = [image.split("/")[0] for image in stored.images]
    test = stored.embeddings, np.unique(names, return_inverse=True)[1]
    num_impostor = count_pairs(test[1])[1]
    kept = compare_all(unit_vectors(test[0]), test[1], num_impostor // 20)
    rows = []
    for far in FARS:
        found = choose_model_threshold(*development, far)
        threshold = found.threshold
        row = {
            "far": far,
            "threshold": threshold,
            "development_tar": found.tar,
            "test_far": float((kept.highest > threshold).sum() / num_impostor),
            "test_tar": float((kept.genuine > threshold).mean()),
        }
        rows.append(row)
        print(
            f"FAR {far:.0e}: cosine {threshold:.4f}, TAR {found.tar:.2%}; on the test "
            f"photos FAR {row['test_far']:.2e}, TAR {row['test_tar']:.2%}"
        )
    content = {
        "model": options.model,
        "model_fingerprint": facever.load(options.model).model_fingerprint,
        "test_fingerprint": stored.model_fingerprint,
        "development": describe(development[1]),
        "test": describe(test[1]),
        "thresholds": rows,
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
    options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def embed_faces(
    model: str, folder: Path, num_people: int
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of all photos of people drawn from a folder, and who is on each."""
    everybody = sorted(path for path in folder.iterdir() if path.is_dir())
    drawn = np.random.default_rng(0).permutation(len(everybody))[:num_people]
    photos = [
        (label, path)
        for label, person in enumerate(np.sort(drawn).tolist())
        for path in sorted(everybody[person].glob("*.jpg"))
    ]
    embedder = facever.load(model)
    parts = []
    with progress_bar("embed", len(photos), "photos") as advance:
        for start in range(0, len(photos), _CHUNK):
            crops = [read_photo(path) for _, path in photos[start : start + _CHUNK]]
            missing = (embedder.template.width - crops[0].shape[1]) // 2
            sides = ((0, 0), (0, 0), (missing, missing), (0, 0))
            wide = np.pad(np.stack(crops), sides, mode="edge")
            parts.append(embedder.embed_crops(wide, advance=advance))
    return np.concatenate(parts), np.array([label for label, _ in photos])


def describe(people: np.ndarray) -> dict[str, int]:
    num_genuine, num_impostor = count_pairs(people)
    return {
        "num_photos": len(people),
        "num_people": int(people.max()) + 1,
        "num_genuine": num_genuine,
        "num_impostor": num_impostor,
    }


if __name__ == "__main__":
    main()
