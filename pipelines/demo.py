"""``make demo``: the whole chain on faces drawn in code, with nothing to download.

Draws two populations, aligns them, trains a narrow ResNet-27 on the first with softmax
and with softmax + IE, runs a 6,000-pair protocol in the form of LFW's on the second,
whom the networks have never seen, draws the ROC curves of both into one report, and
enrolls half of the second in a gallery, looks everybody up, counts successes and
mistakes, and shows one of each. Everything lands in ``demo/``; a run that was stopped
goes on where it was.
"""

import time
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from facever.config.reading import load_config
from facever.config.training import TrainConfig
from facever.data.store.crop_store import CropStore
from facever.gallery.answering import answer
from facever.gallery.folder.gallery import Gallery
from facever.inference.backends.torch_network import TorchNetwork
from facever.inference.embedder import Embedder
from facever.inference.model import LoadedModel
from facever.inference.model_file import load_model
from facever.inference.preprocessing import Preprocessing
from facever.models import build_network
from facever.progress import format_seconds, progress_bar
from facever.stages.align import align
from facever.stages.gallery import search as gallery_search
from facever.stages.gallery.threshold import choose_threshold
from facever.stages.training.train import train
from facever.synthetic import write_pairs, write_photos
from facever.verification.evaluation import Evaluation, evaluate_pairs
from facever.verification.pca import default_num_components
from facever.verification.protocols import read_lfw_pairs
from facever.verification.reporting.report import write_report

OUT = Path("demo")
CONFIGS = Path(__file__).parent.parent / "configs" / "train"
SEED = 2018
TRAIN_PEOPLE, TRAIN_PHOTOS = 300, 12
TEST_PEOPLE, TEST_PHOTOS = 200, 8

# In the gallery: photos of each enrolled person, and the share of unknown people who
# may be taken for somebody.
ENROLLED_PHOTOS, FPIR = 4, 0.05

# What may become of a photo that is looked up: is its person enrolled, is the answer
# right, and in words.
OUTCOMES = {
    "named": (True, True, "given the right name, a success"),
    "missed": (True, False, "given no name, a mistake"),
    "misnamed": (True, False, "given another person's name, a mistake"),
    "nobody": (False, True, "given no name, a success"),
    "taken for somebody": (False, False, "given somebody's name, a mistake"),
}

console = Console()


class Lookup(NamedTuple):
    """A photo that was looked up, and what the gallery says.

    Attributes:
        photo: Source of the photo.
        person: Who is on it.
        is_enrolled: Whether that person is in the gallery.
        name: Whom the gallery names; None for nobody.
        cosine: Cosine with the most similar enrolled photo.
    """

    photo: str
    person: str
    is_enrolled: bool
    name: str | None
    cosine: float

    @property
    def outcome(self) -> str:
        """A key of ``OUTCOMES``."""
        if not self.is_enrolled:
            return "nobody" if self.name is None else "taken for somebody"
        if self.name is None:
            return "missed"
        return "named" if self.name == self.person else "misnamed"


def main() -> None:
    started = time.monotonic()
    step("1/6", "draw people who do not exist")
    draw("train", 0, TRAIN_PEOPLE, TRAIN_PHOTOS)
    draw("test", TRAIN_PEOPLE, TEST_PEOPLE, TEST_PHOTOS)
    pairs_path = OUT / "pairs.txt"
    write_pairs(pairs_path, SEED, TRAIN_PEOPLE, TEST_PEOPLE, TEST_PHOTOS)

    step("2/6", "align their photos to 112x96 crops, by five landmarks")
    for name in ("train", "test"):
        photos = OUT / f"{name}-photos"
        # One worker: with landmarks at hand, more take longer to start than to work.
        align(
            photos,
            OUT / f"{name}-crops",
            landmarks=photos / "landmarks.txt",
            workers=1,
        )
    write_sheet(CropStore.open(OUT / "test-crops"), OUT / "crops.png")

    step("3/6", "train a narrow ResNet-27 with softmax")
    softmax = train(load_config(TrainConfig, CONFIGS / "demo-softmax.yaml"))
    print(softmax)
    step("4/6", "train another with softmax + 0.05 IE")
    joint = train(load_config(TrainConfig, CONFIGS / "demo-softmax-ie.yaml"))
    print(joint)

    step("5/6", "6,000 pairs of people whom neither has seen, in 10 folds")
    pairs = read_lfw_pairs(pairs_path)
    store = CropStore.open(OUT / "test-crops")
    models = {
        "softmax + IE": load_model(joint.model),
        "softmax": load_model(softmax.model),
    }
    models["untrained network"] = untrained(models["softmax"])
    features = {name: embed(name, model, store) for name, model in models.items()}
    evaluations = {
        name: evaluate_pairs(
            embeddings,
            store.sources,
            pairs,
            default_num_components(embeddings.shape[1]),
        )
        for name, embeddings in features.items()
    }
    # Every second pixel will do, in a quarter of the memory.
    pixels = store.crops[:, ::2, ::2].reshape(len(store), -1).astype(np.float32)
    evaluations["raw crops"] = evaluate_pairs(pixels, store.sources, pairs)
    report = write_demo_report(evaluations, store)

    step("6/6", "enroll half of the people, and ask who is on the other photos")
    show_gallery(joint.model, features["softmax + IE"], store)
    show_results(evaluations)
    last_screen(report, joint.model, time.monotonic() - started)


def step(number: str, title: str) -> None:
    console.rule(f"[bold]{number}[/bold] {title}", align="left")


def draw(name: str, first: int, num_people: int, photos_each: int) -> None:
    folder = OUT / f"{name}-photos"
    # The landmarks are written last: where they are, the folder is complete.
    if (folder / "landmarks.txt").exists():
        print(f"{folder} is drawn already")
        return
    with progress_bar(f"draw {name}", num_people * photos_each, "photos") as advance:
        write_photos(folder, SEED, first, num_people, photos_each, advance)


def write_sheet(store: CropStore, path: Path) -> None:
    """A picture of eight people, eight crops each."""
    rows = [np.flatnonzero(store.labels == label)[:8] for label in range(8)]
    sheet = np.vstack([np.hstack(list(store.crops[row])) for row in rows])
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def untrained(model: LoadedModel) -> LoadedModel:
    torch.manual_seed(SEED)
    network = build_network(model.header.network, model.header.network_options)
    started = TorchNetwork(network.eval(), Preprocessing())
    return LoadedModel(started, model.header, fingerprint="")


def embed(name: str, model: LoadedModel, store: CropStore) -> np.ndarray:
    with progress_bar(f"embed, {name}", len(store), "crops") as advance:
        return Embedder(model).embed_crops(store.crops, advance=advance)


def write_demo_report(evaluations: dict[str, Evaluation], store: CropStore) -> Path:
    row_of = {source: row for row, source in enumerate(store.sources)}
    return write_report(
        OUT / "report",
        evaluations,
        "Drawn people: 6,000 pairs in 10 folds",
        {
            "people": f"{TEST_PEOPLE}, drawn in code; none was trained on",
            "photos": f"{len(store):,}, aligned by their true landmarks",
            "training": f"{TRAIN_PEOPLE * TRAIN_PHOTOS:,} photos of {TRAIN_PEOPLE} "
            "other people",
            "network": "ResNet-27, width 0.125",
            "mirror": "sum",
            "pca": "half of the dimensions, fitted for each fold on the photos of the "
            "others; none for raw crops",
            "seed": SEED,
        },
        crop_of=lambda source: np.asarray(store.crops[row_of[source]]),
    )


def show_gallery(model_path: Path, embeddings: np.ndarray, store: CropStore) -> None:
    """Enroll half of the people, look up everybody, and count what comes out."""
    model = load_model(model_path)
    folder = OUT / "gallery"
    known = store.labels < len(store.identities) // 2
    # How many photos of the same person stand before this one.
    order = np.arange(len(store)) - np.searchsorted(store.labels, store.labels)
    enrolled = np.flatnonzero(known & (order < ENROLLED_PHOTOS))
    probes = np.flatnonzero(~known | (order >= ENROLLED_PHOTOS))
    names = [store.identities[label] for label in store.labels]
    if not (folder / "gallery.sqlite").exists():
        Gallery.create(folder, model.feature_size, model.fingerprint).close()
    with Gallery(folder, model.fingerprint) as gallery:
        gallery.add(
            [names[row] for row in enrolled],
            embeddings[enrolled],
            [store.sources[row] for row in enrolled],
        )
    threshold = choose_threshold(folder, fpir=FPIR).threshold.cosine
    with Gallery(folder, model.fingerprint) as gallery:
        found = gallery.search(embeddings[probes], k=1)
    lookups = [
        Lookup(
            store.sources[row],
            names[row],
            bool(known[row]),
            answer(matches, threshold)["name"],
            matches[0].cosine,
        )
        for row, matches in zip(probes, found, strict=True)
    ]
    print(
        f"{folder}: {known.sum() // TEST_PHOTOS} people are enrolled with "
        f"{ENROLLED_PHOTOS} photos each. A name is given where the cosine is above "
        f"{threshold:.3f}, which the gallery's own photos set for {FPIR:.0%} of "
        "unknown people taken for somebody."
    )
    show_counts(lookups)
    for title, is_success in (("A success", True), ("A mistake", False)):
        those = [one for one in lookups if OUTCOMES[one.outcome][1] == is_success]
        show_example(title, those, folder, model_path)


def show_counts(lookups: Sequence[Lookup]) -> None:
    """How often each outcome happens, and how often the gallery is right in all."""
    counts = Counter(lookup.outcome for lookup in lookups)
    num_known = sum(lookup.is_enrolled for lookup in lookups)
    for outcome, (is_enrolled, _, words) in OUTCOMES.items():
        total = num_known if is_enrolled else len(lookups) - num_known
        whose = "people who are enrolled" if is_enrolled else "unknown people"
        count = counts[outcome] or "none"
        share = counts[outcome] / total
        print(f"  {share:6.1%} ({count} of {total} photos of {whose}): {words}")
    num_right = sum(counts[outcome] for outcome in OUTCOMES if OUTCOMES[outcome][1])
    print(
        f"In all {num_right:,} successes and {len(lookups) - num_right:,} mistakes in "
        f"{len(lookups):,} photos."
    )


def show_example(
    title: str, lookups: Sequence[Lookup], folder: Path, model_path: Path
) -> None:
    """The surest of some lookups, and the same photo looked up by the command."""
    if not lookups:
        print(f"\n{title}: there is none.")
        return
    surest = max(lookups, key=attrgetter("cosine"))
    print(
        f"\n{title}, the one with the highest cosine: {surest.photo} shows "
        f"{surest.person}, who is {'' if surest.is_enrolled else 'not '}enrolled; the "
        f"gallery says {surest.name or 'nobody'}, cosine {surest.cosine:.3f}. The "
        "command finds the face by itself, so its cosine may differ:"
    )
    photo = OUT / "test-photos" / surest.photo
    print(f"facever gallery search {folder} {photo} --model {model_path}")
    print(gallery_search.search(folder, model_path, photo, k=3))


def show_results(evaluations: dict[str, Evaluation]) -> None:
    table = Table(title="\n6,000 pairs of unseen people", title_justify="left")
    for column in ("", "accuracy", "AUC", "TAR at FAR 1 %"):
        table.add_column(column, justify="left" if column == "" else "right")
    for name, evaluation in evaluations.items():
        tar = next(point.tar for point in evaluation.tar if point.target_far == 1e-2)
        table.add_row(
            name,
            f"{evaluation.accuracy:.2%} ± {evaluation.standard_error:.2%}",
            f"{evaluation.auc:.4f}",
            "-" if tar is None else f"{tar:.1%}",
        )
    console.print(table)


def last_screen(report: Path, model: Path, seconds: float) -> None:
    console.print(
        f"\nDone in {format_seconds(seconds)}. Look at it:\n"
        f"  {report}   ROC curves, scores, the worst mistakes\n"
        f"  {OUT / 'crops.png'}   some of the crops\n"
        f"  {model}   the model file\n"
        "\nOn your own photos next (one folder a person):\n"
        "  .venv/bin/facever align PHOTOS runs/crops\n"
        "  .venv/bin/facever train configs/train/small.yaml "
        "data.crops=runs/crops\n"
        "  .venv/bin/facever evaluate lfw runs/small/model.safetensors "
        "--photos LFW --pairs pairs.txt --out runs/lfw\n",
        soft_wrap=True,
        highlight=False,
    )


if __name__ == "__main__":
    main()
