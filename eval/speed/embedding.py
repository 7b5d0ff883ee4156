"""Embedding speed: channels-last bf16 beside eager fp32, the same crops in one run.

    python eval/speed/embedding.py --width 1.0

Two ways take turns, so that a busy machine slows both: plain eager float32 (contiguous
memory), and what ``Embedder`` does, which is bf16 where the device has units for it and
float32 elsewhere, where emulated bf16 takes minutes a batch. Median and spread of the
turns go to the json.
The bound is arithmetic: 2.1 billion multiply-adds a crop at width 1, twice with mirror.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from facever.environment import describe_machine, describe_versions
from facever.hardware import has_bf16_units, pick_device
from facever.inference.embedder import Embedder
from facever.inference.formats.safetensors_file import save_model
from facever.inference.header import ModelHeader
from facever.inference.model_file import load_model
from facever.models import build_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--crops", type=int, default=64, help="crops in a turn")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/speed-embedding.json")
    )
    options = parser.parse_args()

    torch.manual_seed(0)
    work = Path(options.out.parent, ".speed-embedding.safetensors")
    network_options = {"width": options.width}
    network = build_network("resnet27", network_options)
    save_model(work, network, ModelHeader("resnet27", network_options, 512))
    try:
        ways = _ways(work)
    finally:
        work.unlink()
    generator = np.random.default_rng(0)
    crops = generator.integers(0, 256, (options.crops, 112, 96, 3), dtype=np.uint8)

    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.turns + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way(crops)
            if turn > 0:  # The first turn warms up.
                seconds[name].append(time.perf_counter() - started)

    reference = ways["eager fp32"](crops)
    device = pick_device()
    result = {
        "benchmark": "embedding",
        "width": options.width,
        "crops": options.crops,
        "mirror": "sum",
        "device": str(device),
        "bf16_units": has_bf16_units(str(device)),
        "machine": describe_machine(),
        "versions": describe_versions(),
        "ways": {},
    }
    base = statistics.median(seconds["eager fp32"])
    for name, times in seconds.items():
        features = ways[name](crops)
        result["ways"][name] = {
            "crops_per_second": round(options.crops / statistics.median(times), 1),
            "slowest_turn": round(options.crops / max(times), 1),
            "fastest_turn": round(options.crops / min(times), 1),
            "times_eager_fp32": round(base / statistics.median(times), 2),
            "lowest_cosine_to_fp32": round(_lowest_cosine(features, reference), 6),
        }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for name, numbers in result["ways"].items():
        print(name, numbers)
    if not result["bf16_units"]:
        print("this device has no bf16 units: Embedder stays in float32")


def _ways(model: Path) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    device = pick_device()
    plain = load_model(model).network.module.to(device).eval()

    @torch.inference_mode()
    def eager(crops: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(crops).to(device).permute(0, 3, 1, 2)
        images = ((images.float() - 127.5) / 128).contiguous()
        return (plain(images) + plain(images.flip(3))).cpu().numpy()

    ways = {
        "eager fp32": eager,
        "Embedder, auto": Embedder(load_model(model)).embed_crops,
    }
    if has_bf16_units(str(device)):
        fp32 = Embedder(load_model(model), precision="fp32")
        ways["Embedder, fp32"] = fp32.embed_crops
    return ways


def _lowest_cosine(left: np.ndarray, right: np.ndarray) -> float:
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(((left * right).sum(axis=1) / lengths).min())


if __name__ == "__main__":
    main()
