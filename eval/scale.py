"""What a hundred million faces take, from this project's own measured rates.

    python eval/scale.py --embeddings LFW_EMBEDDINGS.npz

Reckons sizes and times from ``eval/reference/``, one processor and one machine at a
time, and says of each number which file it rests on. With embeddings of LFW it also
measures how the rate of strangers who are given a name grows with the number of people
in a gallery, beside what independent pairs would give, and writes all to a json.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facever.inference.embeddings_file import read_embeddings
from facever.verification.identification.leave_one_out import independent_fpir

REFERENCE = Path("eval/reference")
FMRS = (1e-3, 1e-4, 1e-5)
SIZES = (50, 100, 250, 500, 1000, 2500)
CROP_BYTES = 112 * 112 * 3


@dataclass(frozen=True)
class Step:
    """A step of the work, or a thing to keep.

    Attributes:
        step: What it is.
        value: A number.
        unit: Of what.
        source: The file of ``eval/reference/`` that the rate is from; empty for what is
            counted.
    """

    step: str
    value: float
    unit: str
    source: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--faces", type=float, default=1e8)
    parser.add_argument("--people", type=float, default=1e6)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--embeddings", type=Path, help="of LFW's photos")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--out", type=Path, default=REFERENCE / "scale.json")
    options = parser.parse_args()
    steps = list(reckon(options.faces, options.people, options.dim))
    for each in steps:
        origin = f"  ({each.source})" if each.source else ""
        print(f"{each.step:58} {each.value:14,.1f} {each.unit}{origin}")
    found: dict[str, Any] = {
        "benchmark": "scale",
        "faces": options.faces,
        "people": options.people,
        "dim": options.dim,
        "steps": [asdict(each) for each in steps],
    }
    if options.embeddings:
        rows = strangers_named(options.embeddings, options.draws)
        found["embeddings"] = options.embeddings.name
        found["strangers_named"] = rows
        for row in rows:
            print(
                f"FMR {row['fmr']:g} over pairs, {row['people']:5,} people: "
                f"{row['fpir']:7.2%} of strangers are given a name, independent pairs "
                f"would give {row['independent']:7.2%}"
            )
    options.out.write_text(json.dumps(found, indent=2) + "\n")


def reckon(faces: float, people: float, dim: int) -> Iterator[Step]:
    """Sizes and times of all steps."""
    row = 4 * dim
    yield Step("crops of 112x112, as stored", faces * CROP_BYTES / 1e12, "TB")
    yield Step("embeddings, float32", faces * row / 1e9, "GB")
    yield Step("embeddings, float16 (halfvec)", faces * row / 2e9, "GB")
    yield Step("embeddings, 8 bits (sq8)", faces * dim / 1e9, "GB")
    yield Step("one embedding a person, float32", people * row / 1e9, "GB")

    pipeline = read("pipeline")["milliseconds_a_photo"]["32"]["openvino"]
    finding = sum(pipeline[name] for name in ("read", "find faces", "cut out"))
    # The reference is of a machine of two cores, all of which worked.
    cores = 2
    hours = faces * cores / 3.6e6
    yield Step("finding and aligning faces, MTCNN", finding * hours, *core("pipeline"))
    times = read("alignment")["times_as_fast_as_before_by_processor_time"]
    yunet = times["yunet"]["median"] / times["openvino"]["median"]
    yield Step("the same with YuNet", finding * hours / yunet, *core("alignment"))
    yield Step("embedding, SFace", pipeline["embed"] * hours, *core("pipeline"))
    for name, label in (("", "AMX"), ("-no-matrix-units", "AVX-512 bf16")):
        for way in ("openvino bf16", "openvino int8"):
            rate = crops_a_second(f"inference{name}", "width 1", way)
            yield Step(
                f"embedding, ResNet-27 of width 1, {way}, {label}",
                faces * cores / rate / 3600,
                *core(f"inference{name}"),
            )

    of_gallery = read("gallery")
    million = of_gallery["rows"]
    for queries in (1, 64):
        median = of_gallery[f"exact, {queries} queries"]["facever, milliseconds"]
        seconds = faces / million * float(np.median(median)) / 1000
        yield Step(
            f"exact search in one folder, {queries} at once",
            seconds,
            "s",
            "speed-gallery",
        )
        seconds = people / million * float(np.median(median)) / 1000
        yield Step(
            f"the same among one embedding a person, {queries} at once",
            seconds,
            "s",
            "speed-gallery",
        )
    adding = of_gallery["add durably, seconds for 100,000"] / 1e5
    yield Step("enrolling into a folder", faces * adding / 3600, "h", "speed-gallery")
    drawn = read("galleries")["drawn"]
    rate = drawn["PostgreSQL, exact"]["enrolled a second"]
    yield Step(
        "enrolling into PostgreSQL, one writer",
        faces / rate / 3600,
        "h",
        "speed-galleries",
    )
    built = drawn["PostgreSQL, hnsw"]["built, seconds"] / drawn["rows"]
    # The depth of the search for each new neighbour grows with the logarithm.
    growth = np.log(people) / np.log(drawn["rows"])
    yield Step(
        "building hnsw over one embedding a person, at least",
        people * built * growth / 3600,
        "h",
        "speed-galleries",
    )
    yield Step(
        "pairs that a threshold for FPIR 1 % has to be right on: 1 in",
        people / 0.01 / 1e6,
        "million",
    )


def strangers_named(path: Path, num_draws: int) -> list[dict[str, float]]:
    """How often somebody who is not in a gallery is taken for somebody who is.

    One photo of each person of LFW. In each draw some people are enrolled and all
    others looked up, with the threshold that a share ``fmr`` of all pairs of two people
    exceeds.
    """
    file = read_embeddings(path)
    names = [image.split("/")[0] for image in file.images]
    rows = np.unique(names, return_index=True)[1]
    units = file.embeddings[rows].astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    cosine = units @ units.T
    impostors = np.sort(cosine[np.triu_indices(len(units), k=1)])
    rng = np.random.default_rng(0)
    found = []
    for fmr in FMRS:
        threshold = impostors[-1 - int(fmr * len(impostors))]
        above = cosine > threshold
        for size in SIZES:
            rates = []
            for _ in range(num_draws):
                order = rng.permutation(len(units))
                enrolled, strangers = order[:size], order[size:]
                rates.append(above[np.ix_(strangers, enrolled)].any(axis=1).mean())
            found.append(
                {
                    "fmr": fmr,
                    "people": size,
                    "fpir": float(np.mean(rates)),
                    "deviation": float(np.std(rates, ddof=1)),
                    "independent": independent_fpir(fmr, size),
                }
            )
    return found


def read(name: str) -> dict[str, Any]:
    """A reference of speed."""
    found: dict[str, Any] = json.loads((REFERENCE / f"speed-{name}.json").read_text())
    return found


def core(name: str) -> tuple[str, str]:
    return "core hours", f"speed-{name}"


def crops_a_second(name: str, network: str, way: str) -> float:
    """Both views, batches of 16, two threads."""
    [run] = [
        run
        for run in read(name)["runs"]
        if run["network"].endswith(network) and run["threads"] == 2
    ]
    return float(run["ways"][way]["crops_per_second"]["16"])


if __name__ == "__main__":
    main()
