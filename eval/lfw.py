"""The LFW table of the manual: a trained model beside what no training gives.

    facever evaluate lfw runs/small/model.safetensors --photos LFW --pairs pairs.txt \
        --out runs/lfw
    python eval/lfw.py --model runs/small/model.safetensors --crops runs/lfw/crops \
        --pairs pairs.txt

Runs the 6,000 pairs of View 2 with raw crops, with an untrained network of the model's
kind (seed 0) and with the model, by plain cosine and, for the networks, after the PCA
that ``facever evaluate lfw`` fits, and writes the table to a json.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from facever.data.store.crop_store import CropStore
from facever.environment import describe_machine, describe_versions
from facever.inference.backends.torch_network import TorchNetwork
from facever.inference.embedder import Embedder
from facever.inference.model import LoadedModel
from facever.inference.model_file import load_model
from facever.inference.preprocessing import Preprocessing
from facever.models import build_network
from facever.progress import progress_bar
from facever.verification.evaluation import Evaluation, evaluate_pairs
from facever.verification.pca import default_num_components
from facever.verification.protocols import photo_key, read_lfw_pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--crops", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("eval/reference/lfw.json"))
    options = parser.parse_args()

    pairs = read_lfw_pairs(options.pairs)
    store = CropStore.open(options.crops)
    wanted = {photo_key(source) for source in pairs.sources}
    rows = np.array(
        [row for row, name in enumerate(store.sources) if photo_key(name) in wanted]
    )
    images = [store.sources[row] for row in rows]
    model = load_model(options.model)
    trained = Embedder(model, precision="fp32")
    crops = np.asarray(store.crops_for(trained.template)[rows.tolist()])

    torch.manual_seed(0)
    header = model.header
    network = build_network(header.network, header.network_options).eval()
    untrained = LoadedModel(
        TorchNetwork(network, Preprocessing()), header, fingerprint=""
    )
    features = {
        # Every second pixel: half the size each way, for a quarter of the memory.
        "raw crops": crops[:, ::2, ::2].reshape(len(crops), -1).astype(np.float32),
        "untrained network": _embed(
            "untrained", Embedder(untrained, precision="fp32"), crops
        ),
        "trained": _embed("trained", trained, crops),
    }
    table = {}
    for name, embeddings in features.items():
        plain = evaluate_pairs(embeddings, images, pairs)
        row = {"cosine": _percent(plain), "missing_photos": len(plain.missing)}
        if name != "raw crops":
            components = default_num_components(embeddings.shape[1])
            projected = evaluate_pairs(embeddings, images, pairs, components)
            row[f"PCA to {components}, cosine"] = _percent(projected)
        table[name] = row
        print(name, row)
    result = {
        "protocol": "LFW View 2, 6,000 pairs, 10 folds",
        "model_fingerprint": model.fingerprint,
        "training_data": header.training_data,
        "network": {"name": header.network, **header.network_options},
        "mirror": header.mirror,
        "accuracy_percent": table,
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _embed(title: str, embedder: Embedder, crops: np.ndarray) -> np.ndarray:
    with progress_bar(title, len(crops), "crops") as advance:
        return embedder.embed_crops(crops, advance=advance)


def _percent(evaluation: Evaluation) -> str:
    return f"{100 * evaluation.accuracy:.2f} ± {100 * evaluation.standard_error:.2f}"


if __name__ == "__main__":
    main()
