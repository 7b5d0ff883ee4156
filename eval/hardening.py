"""What damage, kills, strangers' files and silent clients do to facever, counted.

    python eval/hardening.py

Every count must end with wrong 0 and lost 0: damage is found or changes nothing that is
read, a change that was acknowledged is there after a kill, a stranger's file gives a
result or one line, and a server answers whoever asks. Everything is drawn here, with
fixed seeds but for the moments of the kills. Takes a quarter of an hour on two cores.
``eval/attacks`` holds the checks.
"""

import argparse
import json
import logging
import resource
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from attacks import clients, crowds, flips, full_disks, kills
from attacks.counting import Count
from attacks.mutated_files import mutation_counts

from facever.environment import describe_machine, describe_versions
from facever.progress import progress_bar

CHECKS: dict[str, Callable[[Path], Count]] = {
    "flipped bits of a gallery": flips.gallery_flips,
    "flipped bits of a gallery that nobody verifies": flips.gallery_flips_unverified,
    "flipped bits of an index file": flips.index_flips,
    "flipped bits of a model file": flips.model_flips,
    "flipped bits of a crop store": flips.store_flips,
    "flipped bits of a checkpoint": flips.checkpoint_flips,
    **{
        f"mutated files: {form}": partial(mutation_counts, form=form, num=num)
        for form, num in {
            "rec": 1000,
            "bin": 1000,
            "npz": 1000,
            "tar": 1000,
            "image": 2000,
            "model": 600,
        }.items()
    },
    "kills of a gallery's writer": kills.gallery_kills,
    "kills of an alignment": kills.align_kills,
    "kills of a merge": kills.merge_kills,
    "kills of a training": kills.train_kills,
    "kills of a server that enrolls": kills.server_kills,
    "eight writers and eight readers in PostgreSQL": crowds.crowd_of_a_postgres_gallery,
    "a full disk under a gallery": full_disks.full_disk_of_a_gallery,
    "a full disk under commands": full_disks.full_disk_of_commands,
    "silent clients of the server": clients.silent_clients,
    "slow clients of the server": clients.slow_clients,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=CHECKS, action="append")
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/hardening.json")
    )
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    warnings.simplefilter("ignore")  # Pillow's, of damaged tags.
    # What is built again, or has no digest, is said each time.
    logging.getLogger("facever").setLevel(logging.ERROR)
    counts: dict[str, Count] = {}
    chosen = options.only or list(CHECKS)
    with progress_bar("hardening", len(chosen), "checks") as advance:
        for name in chosen:
            folder = Path(tempfile.mkdtemp(prefix="facever-hardening-"))
            try:
                counts[name] = CHECKS[name](folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            print(name, asdict(counts[name]), flush=True)
            advance(1)
    report = {
        "counts": {name: asdict(count) for name, count in counts.items()},
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
    options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if any(count.wrong or count.lost for count in counts.values()):
        sys.exit("something was wrong or lost")


if __name__ == "__main__":
    main()
