"""Crops a second in training where another program keeps a core busy.

    python eval/speed/sharing.py

A process of its own trains a ResNet-27 on drawn noise for some seconds, alone and
beside a process that only counts, with one thread and with all; by OpenMP's own
waiting, which counts for a while before it gives up the core, and by facever's. They
take turns. One thread is the bound beside a busy process: two cannot have more than
their share.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from facever.environment import describe_machine, describe_versions

SPINS = "GOMP_SPINCOUNT"
OPENMPS_OWN = "300000"
"""What OpenMP of GCC counts to where nobody says how far."""
BATCH = 64
SECONDS = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/speed-sharing.json")
    )
    options = parser.parse_args()
    if options.train:
        print(train(options.width))
        return
    ways = [
        ("one thread", 1, None),
        ("OpenMP's own waiting", options.threads, OPENMPS_OWN),
        ("facever's waiting", options.threads, None),
    ]
    rates: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.turns):
        for company in ("alone", "beside a busy process"):
            with busy_process() if company != "alone" else nullcontext():
                for name, threads, spins in ways:
                    rate = measure(options.width, threads, spins)
                    rates.setdefault((company, name), []).append(rate)
                    print(f"{company}, {name}: {rate:.1f} crops/s", flush=True)
    content = {
        "benchmark": "training beside a busy process, crops a second",
        "network": f"resnet27, width {options.width}, batch {BATCH}",
        "threads": options.threads,
        "turns": options.turns,
        "rows": [
            {
                "company": company,
                "way": name,
                "median": round(statistics.median(found), 1),
                "lowest": round(min(found), 1),
                "highest": round(max(found), 1),
            }
            for (company, name), found in rates.items()
        ],
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
    options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def measure(width: float, threads: int, spins: str | None) -> float:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    environment.pop(SPINS, None)
    if spins is not None:
        environment[SPINS] = spins
    command = [sys.executable, __file__, "--train", "--width", str(width)]
    said = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    )
    return float(said.stdout)


@contextmanager
def busy_process() -> Iterator[None]:
    # In a session of its own, as another user's program is: its own share of the cores.
    counting = [sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(counting, start_new_session=True) as process:
        try:
            yield
        finally:
            process.kill()


def train(width: float) -> float:
    """Crops a second of forward, backward and optimiser step on one batch."""
    import torch

    from facever.hardware import uses_bf16
    from facever.models.resnet27 import ResNet27

    torch.manual_seed(0)
    network: Any = ResNet27(width=width).to(memory_format=torch.channels_last)
    images = torch.randn(BATCH, 3, 112, 96).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    is_bf16 = uses_bf16("auto", "cpu")

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            embeddings = network(images)
        embeddings.float().square().mean().backward()
        optimiser.step()

    step()  # Memory is taken, kernels are chosen.
    num_steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        step()
        num_steps += 1
    return num_steps * BATCH / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
