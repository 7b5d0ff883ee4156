"""Inference speed and parity: backends and numbers side by side, in one run.

    python eval/speed/inference.py --crops STORE
    python eval/speed/inference.py --crops STORE --model sface

Of each network, a ResNet-27 of each width with drawn weights or the model that is
named, the same crops go through every backend in every kind of numbers, at every batch
size and number of threads. They take turns, so that a busy machine slows all; a turn is
one batch. "before" is what facever did when torch alone computed: autocast, nothing
folded, mirror images as a batch of their own.

Beside the speed stand the lowest and mean cosine to float32 by torch (or, of an ONNX
file, by onnxruntime), over all the crops. The bound is arithmetic: the machine's own
rate of a matrix product in float32 and in bfloat16, in the same run, over the network's
additions and multiplications.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from facever.data.store.crop_store import CropStore
from facever.environment import describe_machine, describe_versions
from facever.hardware import has_bf16_units
from facever.inference.backends.torch_network import TorchNetwork
from facever.inference.embedder import Embedder
from facever.inference.formats.safetensors_file import save_model
from facever.inference.header import ModelHeader
from facever.inference.model import LoadedModel
from facever.inference.model_file import load_model
from facever.inference.parity import cosines
from facever.models import build_network
from facever.runtimes import is_installed
from facever.stages.model.exporting import ExportSettings, export_model

WAYS = (
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("onnxruntime", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("onnxruntime", "int8"),
    ("openvino", "int8"),
)
_THREADS = "OMP_NUM_THREADS"

Way = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--crops", type=Path, required=True, help="a crop store")
    parser.add_argument("--model", help="in place of drawn networks")
    parser.add_argument("--widths", type=float, nargs="+", default=[0.25, 1.0])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--compared", type=int, default=1000, help="crops for parity")
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/speed-inference.json")
    )
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options)))
        return
    content = {
        "benchmark": "inference",
        "crops": "of both views, the crop and its mirror image",
        "runs": [],
        "machine": describe_machine(),
        "load": os.getloadavg(),
        "versions": describe_versions(),
    }
    networks = [options.model] if options.model else options.widths
    for network in networks:
        for threads in options.threads:
            run = _in_process(options, network, threads)
            content["runs"].append(run)
            _show(run)
    options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _in_process(options: argparse.Namespace, network: Any, threads: int) -> Any:
    """A number of threads counts from the start of a process."""
    which = ["--model", network] if options.model else ["--widths", str(network)]
    command = [sys.executable, __file__, "--one", "--crops", options.crops, *which]
    command += ["--batches", *map(str, options.batches)]
    command += ["--turns", str(options.turns), "--threads", str(threads)]
    command += ["--compared", str(options.compared)]
    environment = {**os.environ, _THREADS: str(threads)}
    ran = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(ran.stdout.splitlines()[-1])


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One network with one number of threads."""
    [threads] = options.threads
    torch.set_num_threads(threads)
    store = CropStore.open(options.crops)
    with TemporaryDirectory() as folder:
        source = options.model or str(_drawn(Path(folder), options.widths[0]))
        loaded = load_model(source)
        rows = np.linspace(0, len(store) - 1, options.compared).astype(int)
        crops = np.array(store.crops_for(loaded.template)[list(rows)])
        ways = _ways(loaded, source, options.crops, Path(folder))
        parity = _parity(ways, crops)
        batches = {
            size: _race(ways, crops, size, options.turns) for size in options.batches
        }
    run: dict[str, Any] = {
        "network": options.model or f"ResNet-27, width {options.widths[0]:g}",
        "threads": threads,
        "matrix_product_gflops": _matrix_rates(),
        "ways": {
            name: {
                **parity[name],
                "crops_per_second": {
                    str(size): round(size / statistics.median(times[name]), 1)
                    for size, times in batches.items()
                },
                "times_before": {
                    str(size): _ratio(times, name) for size, times in batches.items()
                },
            }
            for name in ways
        },
    }
    if isinstance(loaded.network, TorchNetwork):
        run["gflop_a_view"] = _gflop(loaded)
    return run


def _drawn(folder: Path, width: float) -> Path:
    torch.manual_seed(0)
    network_options = {"width": width}
    network = build_network("resnet27", network_options)
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.weight, 0.5, 1)
            torch.nn.init.uniform_(part.running_var, 0.5, 2)
    path = folder / "drawn.safetensors"
    save_model(path, network, ModelHeader("resnet27", network_options, 512))
    return path


def _ways(
    loaded: LoadedModel, source: str, store: Path, folder: Path
) -> dict[str, Way]:
    ways: dict[str, Way] = {}
    native = "torch" if isinstance(loaded.network, TorchNetwork) else "onnxruntime"
    if native == "torch":
        ways["before"] = _before(loaded)
    for backend, numbers in WAYS:
        if not is_installed(backend) or (native != "torch" and backend == "torch"):
            continue
        if numbers == "bf16" and not has_bf16_units("cpu"):
            continue
        model = loaded
        if numbers == "int8":
            path = folder / "whole.onnx"
            if not path.exists():
                settings = ExportSettings(
                    precision="int8", calibrate=store, check=store
                )
                export_model(source, path, settings)
            model = load_model(path)
        precision = "auto" if numbers == "int8" else numbers
        embedder = Embedder(model, "cpu", precision, backend=backend)
        ways[f"{backend} {numbers}"] = _embed(embedder)
    if native != "torch":
        ways["before"] = ways["onnxruntime fp32"]
    return ways


def _embed(embedder: Embedder) -> Way:
    return lambda crops: embedder.embed_crops(crops, len(crops))


def _before(loaded: LoadedModel) -> Way:
    assert isinstance(loaded.network, TorchNetwork)
    network = loaded.network.module.to(memory_format=torch.channels_last)
    prepare = loaded.network.preprocessing
    bf16 = has_bf16_units("cpu")

    @torch.inference_mode()
    def embed(crops: np.ndarray) -> np.ndarray:
        views = torch.from_numpy(np.array(crops))
        flips = torch.ones(len(views), dtype=torch.bool)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            own = network(prepare(views)).float()
            mirrored = network(prepare(views, flips)).float()
        return (own + mirrored).numpy()

    return embed


def _race(
    ways: dict[str, Way], crops: np.ndarray, size: int, turns: int
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        batch = crops[turn * size % len(crops) :][:size]
        if len(batch) < size:
            batch = crops[:size]
        for name, way in ways.items():
            started = time.perf_counter()
            way(batch)
            if turn > 0:  # The first turn warms up.
                seconds[name].append(time.perf_counter() - started)
    return seconds


def _ratio(times: dict[str, list[float]], name: str) -> float:
    """The median of the turns' own ratios: both ways of a turn ran side by side."""
    pairs = zip(times["before"], times[name], strict=True)
    return round(statistics.median(before / own for before, own in pairs), 2)


def _parity(ways: dict[str, Way], crops: np.ndarray) -> dict[str, dict[str, float]]:
    reference = "torch fp32" if "torch fp32" in ways else "onnxruntime fp32"
    chunks = [crops[start : start + 50] for start in range(0, len(crops), 50)]
    features = {
        name: np.concatenate([way(chunk) for chunk in chunks])
        for name, way in ways.items()
    }
    found = {}
    for name, own in features.items():
        alike = cosines(own, features[reference])
        found[name] = {
            "lowest_cosine": round(float(alike.min()), 6),
            "mean_cosine": round(float(alike.mean()), 6),
        }
    return found


def _matrix_rates() -> dict[str, float]:
    """Billions of additions and multiplications a second of torch's matrix product."""
    rates = {}
    for name, numbers in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        if name == "bf16" and not has_bf16_units("cpu"):
            continue
        side = 2048
        left, right = (torch.rand(side, side).to(numbers) for _ in range(2))
        times = []
        for _ in range(8):
            started = time.perf_counter()
            left @ right
            times.append(time.perf_counter() - started)
        rates[name] = round(2 * side**3 / min(times) / 1e9, 1)
    return rates


def _gflop(loaded: LoadedModel) -> float:
    assert isinstance(loaded.network, TorchNetwork)
    header = loaded.header
    image = torch.zeros(1, 3, header.crop_height, header.crop_width)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        loaded.network.module(image)
    # A multiplication and an addition count as two.
    return round(counter.get_total_flops() / 1e9, 4)


def _show(run: dict[str, Any]) -> None:
    print(f"{run['network']}, {run['threads']} threads", flush=True)
    for name, facts in run["ways"].items():
        print(f"  {name:18} {facts}", flush=True)


if __name__ == "__main__":
    main()
