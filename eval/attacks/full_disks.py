"""Disks that are full: no file may grow beyond a limit."""

import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

from attacks.counting import ENVIRONMENT, Count
from attacks.kills import FACEVER, TRAINING, files_in, write_stores
from facever.gallery.folder.gallery import Gallery

DISK_FULL = """
import resource, signal, sys
import numpy as np
from facever.errors import FaceverError
from facever.gallery.folder.gallery import Gallery
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
gallery = Gallery(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
done = 0
try:
    for number in range(10**4):
        gallery.add(["Ann"], np.ones((1, 512)), [str(number)])
        done += 1
except FaceverError as error:
    print(done, str(error).count(chr(10)))
"""


def full_disk_of_a_gallery(folder: Path) -> Count:
    """What was acknowledged before is there."""
    count = Count()
    for attempt in range(10):
        place = folder / str(attempt)
        Gallery.create(place, 512).close()
        limit = 2**17 * (attempt + 2)
        told = subprocess.run(
            [sys.executable, "-c", DISK_FULL, place, str(limit)],
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
        )
        count.tried += 1
        said, breaks = map(int, told.stdout.split())
        with Gallery(place) as gallery:
            there = gallery.verify()
        count.lost += max(0, said - there)
        count.refused += breaks == 0
        count.wrong += breaks != 0
    return count


def full_disk_of_commands(folder: Path) -> Count:
    """Each ends in a line and leaves no half of a file, and goes on with more room."""
    first, second = write_stores(folder, num_identities=8, photos_each=4)
    config, photos = folder / "train.yaml", folder / "photos-0"
    config.write_text(TRAINING.format(crops=first, out=folder / "run"))
    landmarks = ["--landmarks", photos / "landmarks.txt", "--workers", "1"]
    commands = {
        "crops": ["align", photos, folder / "crops", *landmarks],
        "merged": ["data", "merge", "--out", folder / "merged", first, second],
        "jpegs": ["data", "compress", first, folder / "jpegs"],
        "tars": ["data", "export", first, folder / "tars", "--to", "tar"],
        "run": ["train", config],
    }
    count = Count()
    for name, command in commands.items():
        for limit in (2**10, 2**14, 2**17):
            full = partial(
                subprocess.run,
                [*FACEVER, *command],
                capture_output=True,
                text=True,
                env=ENVIRONMENT,
            )
            limits = (limit, limit)
            ended = full(
                preexec_fn=lambda limits=limits: resource.setrlimit(
                    resource.RLIMIT_FSIZE, limits
                )
            )
            count.tried += 1
            last = ended.stderr.splitlines()[-1:]
            in_a_line = bool(last) and last[0].startswith("facever: cannot write")
            is_clean = ended.returncode == 2 and in_a_line
            is_clean &= "Traceback" not in ended.stderr
            count.refused += is_clean
            count.wrong += not is_clean
            if not is_clean:
                print(
                    name, limit, ended.returncode, ended.stderr[-300:], file=sys.stderr
                )
        count.tried += 1
        whole = full().returncode == 0 and bool(files_in(folder / name))
        count.harmless += whole
        count.wrong += not whole
    return count
