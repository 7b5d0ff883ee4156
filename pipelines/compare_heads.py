"""Every head on the same data, network, budget and seeds; judged on LFW at the end.

    python pipelines/compare_heads.py --crops runs/crops --lfw-crops runs/lfw/crops \
        --pairs pairs.txt

Trains each entry of ``configs/compare/heads.yaml`` once a seed and evaluates its last
step, never the best one, on LFW's 6,000 pairs. Writes ``table.md``, ``results.json``
and ``roc.png`` (the first seed's curves) after each run. A job that was stopped goes on
where it was.
"""

import argparse
import copy
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from facever import build
from facever.config.training import TrainConfig
from facever.data.batches.sampling import split_identities
from facever.data.store.crop_store import CropStore
from facever.environment import describe_machine, describe_versions
from facever.errors import FaceverError
from facever.files import check_folder_place, whole_file
from facever.inference.embedder import Embedder
from facever.inference.embeddings_file import read_embeddings
from facever.inference.model_file import load_model
from facever.progress import progress_bar
from facever.stages.training.run_folder import LOG_FILE
from facever.stages.training.train import train
from facever.tables.class_angles import class_angles
from facever.training.checkpoint import CHECKPOINT_FILE, read_checkpoint
from facever.verification.evaluation import Evaluation, evaluate_pairs
from facever.verification.pca import default_num_components
from facever.verification.protocols import PairList, photo_key, read_lfw_pairs
from facever.verification.reporting.document_figures import save_roc

ANGLE_CLASSES = 200
"""Training classes whose angles are measured, the first ones."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--crops", type=Path, required=True, help="to train on")
    parser.add_argument("--lfw-crops", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/compare-heads"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--config", type=Path, default=Path("configs/compare/heads.yaml")
    )
    options = parser.parse_args()
    try:
        run(options)
    except FaceverError as error:
        sys.exit(f"compare_heads: {error}")


def run(options: argparse.Namespace) -> None:
    check_folder_place(options.out)
    plan = yaml.safe_load(options.config.read_text(encoding="utf-8"))
    pairs = read_lfw_pairs(options.pairs)
    wanted = {photo_key(source) for source in pairs.sources}

    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in plan["heads"]}
    # Seeds outside: whenever the job is stopped, every head has had its turn as often.
    for seed in range(options.seeds):
        for number, name in enumerate(plan["heads"], start=1):
            print(f"\n[{number}/{len(runs)}] {name}, seed {seed}")
            out = options.out / f"seed{seed}" / name.replace(" ", "-")
            config = _config(plan, name, seed, options.crops, out)
            result = out / "result.json"
            if not result.exists():
                model = train(config).model
                _embed_lfw(model, options.lfw_crops, wanted, out / "lfw.npz")
                with whole_file(result) as temporary:
                    text = json.dumps(_measure(config, out, pairs), indent=2)
                    temporary.write_text(text + "\n", encoding="utf-8")
            runs[name].append(json.loads(result.read_text(encoding="utf-8")))
            _write(options.out, plan, runs, pairs)
    print(f"\n{(options.out / 'table.md').read_text(encoding='utf-8')}")


def _config(
    plan: dict[str, Any], name: str, seed: int, crops: Path, out: Path
) -> TrainConfig:
    content = copy.deepcopy(plan["train"])
    content["data"]["crops"] = crops
    content["data"]["photos_per_identity"] = plan["classmates"].get(name)
    changes = {"heads": plan["heads"][name], "seed": seed, "out": out}
    return TrainConfig.model_validate(content | changes)


def _embed_lfw(model: Path, crops: Path, wanted: set[str], out: Path) -> None:
    store = CropStore.open(crops)
    rows = [row for row, name in enumerate(store.sources) if photo_key(name) in wanted]
    with progress_bar("embed LFW", len(rows), "crops") as advance:
        embedder = Embedder(load_model(model))
        embeddings = embedder.embed_crops(store.crops[rows], advance=advance)
    images = np.array([store.sources[row] for row in rows])
    with whole_file(out) as temporary, temporary.open("wb") as file:
        np.savez(file, embeddings=embeddings, images=images)


def _evaluate(out: Path, pairs: PairList, with_pca: bool) -> Evaluation:
    file = read_embeddings(out / "lfw.npz")
    components = default_num_components(file.embeddings.shape[1]) if with_pca else None
    return evaluate_pairs(file.embeddings, file.images, pairs, components)


def _measure(config: TrainConfig, out: Path, pairs: PairList) -> dict[str, Any]:
    plain, projected = (_evaluate(out, pairs, with_pca) for with_pca in (False, True))
    lines = map(json.loads, (out / LOG_FILE).read_text().splitlines())
    log = [line for line in lines if "loss" in line]  # Not looks at held-out people.
    return {
        "accuracy_cosine": plain.accuracy,
        "accuracy_pca": projected.accuracy,
        "pca_components": projected.pca_components,
        "auc": plain.auc,
        "missing_photos": len(plain.missing),
        "last_log_line": log[-1],
        "crops_per_second": statistics.median(line["crops_per_second"] for line in log),
        **_angles(config, out),
    }


def _angles(config: TrainConfig, out: Path) -> dict[str, float]:
    """WInter, CInter, WCIntra, where a head has class vectors or anchors."""
    store = CropStore.open(config.data.crops)
    split = split_identities(
        store.labels, config.data.validation_identities, config.seed
    )
    picked = split.labels < ANGLE_CLASSES
    # The feature itself, without its mirror image's: what the head saw in training.
    model = load_model(out / "model.safetensors").with_mirror("none")
    head = build.make_head(config.heads, model.header.embedding_size, split.num_classes)
    head.load_state_dict(read_checkpoint(out / CHECKPOINT_FILE)["head"])
    embedder = Embedder(model)
    with progress_bar("angles", int(picked.sum()), "crops") as advance:
        embeddings = embedder.embed_crops(
            store.crops[split.rows[picked]], advance=advance
        )
    found = class_angles(embeddings, split.labels[picked], head.class_vectors().numpy())
    return {
        "w_inter": found.w_inter,
        "c_inter": found.c_inter,
        "wc_intra": found.wc_intra,
    }


def _write(
    out: Path,
    plan: dict[str, Any],
    runs: dict[str, list[dict[str, Any]]],
    pairs: PairList,
) -> None:
    done = {name: results for name, results in runs.items() if results}
    lines = [
        "| head | seeds | cosine | PCA per fold | WInter | CInter | WCIntra |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, results in done.items():
        cells = [
            _spread([100 * each[key] for each in results], 2, " %")
            for key in ("accuracy_cosine", "accuracy_pca")
        ] + [
            _spread([each[key] for each in results], 3)
            for key in ("w_inter", "c_inter", "wc_intra")
        ]
        lines.append(f"| {name} | {len(results)} | {' | '.join(cells)} |")
    curves = {
        name: _evaluate(out / "seed0" / name.replace(" ", "-"), pairs, with_pca=False)
        for name in done
    }
    content = {
        "protocol": "LFW View 2, 6,000 pairs, 10 folds, last step of each run",
        "train": plan["train"],
        "heads": {
            name: {"options": plan["heads"][name], "runs": results}
            for name, results in done.items()
        },
        "angles": f"radians, first {ANGLE_CLASSES} training classes",
        "machine": describe_machine(),
        "versions": describe_versions(),
        "threads": torch.get_num_threads(),
    }
    with whole_file(out / "table.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with whole_file(out / "results.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    with whole_file(out / "roc.png") as temporary:
        save_roc(temporary, curves, "png")


def _spread(values: list[float], digits: int, unit: str = "") -> str:
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean + unit
    return f"{mean} ± {statistics.stdev(values):.{digits}f}{unit}"


if __name__ == "__main__":
    main()
