"""Faces of LFW sorted by person: clusters beside the people, by each method.

    python eval/clustering.py --embeddings lfw-mobilefacenet-128d.npz

The threshold of each false accept rate is that of all pairs of one half of the people,
and the numbers are of both halves: choose by the first, quote the second. --development
names embeddings of other people in place of the first half. Once with all people, most
of whom have one photo, and once with those who have two or more. Takes two to four
minutes on a CPU core, nearly all of it HDBSCAN.
"""

import argparse
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facever.clustering.face_clusters import ALONE, METHODS, cluster_embeddings
from facever.environment import describe_machine, describe_versions
from facever.inference.embeddings_file import read_embeddings
from facever.verification.clusters import ClusterAgreement, compare_clusters
from facever.verification.model_threshold import choose_model_threshold

FARS = (1e-2, 1e-3, 1e-4)
SETS = {"two or more photos": 2, "all people": 1}


class Faces(NamedTuple):
    """Embeddings, and the number of the person on each."""

    embeddings: np.ndarray
    people: np.ndarray

    def of_people(self, is_wanted: np.ndarray) -> "Faces":
        """The faces of some people, who are numbered anew."""
        rows = is_wanted[self.people]
        return Faces(
            self.embeddings[rows],
            np.unique(self.people[rows], return_inverse=True)[1],
        )

    def with_photos(self, at_least: int) -> "Faces":
        """The faces of people with so many photos."""
        return self.of_people(np.bincount(self.people) >= at_least)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--development", type=Path)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("eval/reference/clustering-lfw-mobilefacenet.json"),
    )
    options = parser.parse_args()

    faces, is_test = read_faces(options.embeddings)
    if options.development is None:
        development, test = faces.of_people(~is_test), faces.of_people(is_test)
    else:
        development, test = read_faces(options.development)[0], faces
    thresholds = {
        far: choose_model_threshold(*development, far).threshold for far in FARS
    }
    print(f"{'set':18} {'method':13} {'FAR':>7}  {'development':^32}  {'test':^32}")
    table = [
        measure(development, test, name, method, far, threshold)
        for name in SETS
        for method in METHODS
        for far, threshold in thresholds.items()
    ]
    content = {
        "embeddings": identify(options.embeddings),
        "development": (
            "half of the people, by the last bit of their name's SHA-256"
            if options.development is None
            else identify(options.development)
        ),
        "clusters": table,
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
    options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_faces(path: Path) -> tuple[Faces, np.ndarray]:
    """The faces, and whether each person is in the half for testing."""
    stored = read_embeddings(path)
    names, people = np.unique(
        [image.split("/")[0] for image in stored.images], return_inverse=True
    )
    digests = [hashlib.sha256(name.encode()).digest() for name in names.tolist()]
    is_test = np.array([digest[-1] % 2 == 1 for digest in digests])
    return Faces(stored.embeddings.astype(np.float32), people), is_test


def measure(
    development: Faces,
    test: Faces,
    name: str,
    method: str,
    far: float,
    threshold: float,
) -> dict[str, Any]:
    """A row of the table, which is printed when it is known."""
    found = {
        half: agreement_of(faces.with_photos(SETS[name]), method, threshold)
        for half, faces in (("development", development), ("test", test))
    }
    print(
        f"{name:18} {method:13} {far:7.0e}  {brief(found['development'])}  "
        f"{brief(found['test'])}",
        flush=True,
    )
    row = {"set": name, "method": method, "far": far, "threshold": threshold}
    return row | {
        half: {
            **asdict(agreement),
            "pair_f": agreement.pair_f,
            "b_cubed_f": agreement.b_cubed_f,
        }
        for half, agreement in found.items()
    }


def agreement_of(faces: Faces, method: str, threshold: float) -> ClusterAgreement:
    clusters = cluster_embeddings(faces.embeddings, threshold, method=method).clusters
    is_alone = clusters == ALONE
    clusters[is_alone] = len(clusters) + np.flatnonzero(is_alone)
    return compare_clusters(clusters, faces.people)


def brief(found: ClusterAgreement) -> str:
    """Pairs' precision and recall, B-cubed's F, clusters of people."""
    return (
        f"{found.pair_precision:.3f} {found.pair_recall:.3f} {found.b_cubed_f:.4f} "
        f"{found.num_clusters:5} of {found.num_people:5}"
    )


def identify(path: Path) -> dict[str, str]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"file": path.name, "sha256": digest}


if __name__ == "__main__":
    main()
