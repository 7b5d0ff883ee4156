"""Kill -9, again and again, of whatever writes."""

import json
import random
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attacks.counting import ENVIRONMENT, TINY, Count
from facever.gallery.folder.gallery import Gallery
from facever.inference.formats.safetensors_file import save_model
from facever.inference.header import ModelHeader
from facever.inference.model_file import load_model
from facever.models import build_network
from facever.stages.align import align
from facever.synthetic.folders import write_photos

FACEVER = [sys.executable, "-m", "facever"]

GALLERY_WRITER = """
import sys
import threading
import numpy as np
from facever.gallery.folder.gallery import Gallery
gallery = Gallery(sys.argv[1])
for number in range(10**6):
    gallery.add([sys.argv[2]] * 3, np.ones((3, 8)), [f"{number}-{i}" for i in range(3)])
    print(number, flush=True)
"""


def gallery_kills(folder: Path) -> Count:
    """Kill -9 of a process that enrolls three photos at a time."""
    Gallery.create(folder / "people", 8).close()
    count = Count()
    for attempt in range(20):
        command = [sys.executable, "-c", GALLERY_WRITER, folder / "people"]
        with subprocess.Popen(
            [*command, str(attempt)], stdout=subprocess.PIPE, env=ENVIRONMENT
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(random.uniform(0, 0.3))
            writer.kill()
            said = 1 + writer.stdout.read().count(b"\n")
        count.tried += 1
        with Gallery(folder / "people") as gallery:
            there = gallery.names()[str(attempt)]
            whole = there % 3 == 0 and gallery.verify() == len(gallery)
        count.lost += max(0, 3 * said - there)
        count.harmless += whole
        count.wrong += not whole
    return count


@dataclass(frozen=True)
class Run:
    """A command that goes on where it was killed.

    Attributes:
        command: Behind ``facever``.
        out: The folder that it writes.
        begun: Something that is there when it has begun to write.
        seconds: Kills fall into so much time after that.
    """

    command: list[str | Path]
    out: Path
    begun: Path
    seconds: float

    def finish(self) -> None:
        """Run it undisturbed."""
        subprocess.run(
            [*FACEVER, *self.command], check=True, capture_output=True, env=ENVIRONMENT
        )

    def start_and_kill(self) -> bool:
        """Kill it at a random moment; False if it was done before that."""
        with subprocess.Popen(
            [*FACEVER, *self.command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
        ) as run:
            while run.poll() is None and not self.begun.exists():
                time.sleep(0.002)
            with suppress(subprocess.TimeoutExpired):
                run.wait(random.uniform(0, self.seconds))
            run.kill()
        return run.returncode != 0


def kills_of(run: Run, num: int, content: Callable[[], Any]) -> Count:
    """Kill a run so often, then let it end; the outcome is that of one undisturbed."""
    run.finish()
    whole = content()
    shutil.rmtree(run.out)
    count = Count()
    while count.tried < num:
        if run.start_and_kill():
            count.tried += 1
        else:
            shutil.rmtree(run.out)  # It was done before it was killed: once more.
    run.finish()
    same = content() == whole
    count.harmless = count.tried * same
    count.wrong = count.tried * (not same)
    return count


def files_in(folder: Path) -> dict[str, bytes]:
    """All that is in a folder, by name."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def align_kills(folder: Path) -> Count:
    """The store has the bytes of one that was aligned without a kill."""
    write_photos(folder / "photos", 0, 0, num_identities=60, photos_each=10)
    out = folder / "crops"
    landmarks = ["--landmarks", folder / "photos" / "landmarks.txt", "--workers", "2"]
    command = ["align", folder / "photos", out, *landmarks]
    run = Run(command, out, out / ".partial", 3.0)
    return kills_of(run, 10, lambda: files_in(out))


def merge_kills(folder: Path) -> Count:
    """The joined store has the bytes of one that was joined without a kill."""
    stores = write_stores(folder, num_identities=60, photos_each=10)
    out = folder / "merged"
    # A store of hundreds of crops is joined in tenths of a second.
    run = Run(["data", "merge", "--out", out, *stores], out, out / ".copy", 0.1)
    return kills_of(run, 20, lambda: files_in(out))


def write_stores(folder: Path, num_identities: int, photos_each: int) -> list[Path]:
    """Two crop stores of different people."""
    stores = []
    for number in range(2):
        photos = folder / f"photos-{number}"
        first = number * num_identities
        write_photos(photos, 0, first, num_identities, photos_each)
        stores.append(folder / f"store-{number}")
        align(photos, stores[-1], landmarks=photos / "landmarks.txt", workers=1)
    return stores


TRAINING = """
data: {{crops: {crops}}}
network: {{name: resnet27, width: 0.0625, embedding_size: 16}}
heads: [{{name: softmax}}]
augmentation: {{mirror: true, shift: 3}}
schedule: {{steps: 60, shape: cosine}}
batch_size: 16
checkpoint_every: 3
precision: fp32
device: cpu
out: {out}
"""


def train_kills(folder: Path) -> Count:
    """The model is that of a training without a kill, to the bit."""
    crops, _ = write_stores(folder, num_identities=8, photos_each=4)
    out, config = folder / "run", folder / "train.yaml"
    config.write_text(TRAINING.format(crops=crops, out=out))
    run = Run(["train", config], out, out / "checkpoint.pt", 4.0)
    return kills_of(run, 10, lambda: load_model(out / "model.safetensors").fingerprint)


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[Any, str]]:
    """A server of an empty gallery in a folder: its process and its address."""
    model, people = folder / "model.safetensors", folder / "people"
    if not people.exists():
        save_model(
            model, build_network("resnet27", TINY), ModelHeader("resnet27", TINY, 16)
        )
        Gallery.create(people, 16, load_model(model).fingerprint).close()
    command = ["gallery", "serve", people, "--model", model, "--port", "0", "--json"]
    with subprocess.Popen(
        [*FACEVER, *command, *options],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as server:
        assert server.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(server.stdout.readline())
        try:
            yield server, json.loads("".join(lines))["address"]
        finally:
            server.kill()


def server_kills(folder: Path) -> Count:
    """Whoever was told that a face is enrolled finds it after the kill."""
    write_photos(folder / "photos", 0, 0, num_identities=1, photos_each=1)
    [photo] = (folder / "photos").rglob("*.jpg")
    count = Count()
    for attempt in range(6):
        told: set[str] = set()
        with served(folder, "--write") as (server, address):
            enroll(address, photo, f"{attempt} first")  # finds faces slowly, at first
            stop = time.monotonic() + random.uniform(0, 2)
            killer = threading.Timer(stop - time.monotonic(), server.kill)
            killer.start()
            with suppress(OSError, urllib.error.URLError):
                for number in range(10**6):
                    enroll(address, photo, f"{attempt} {number}")
                    told.add(f"{attempt} {number}")
            killer.join()
        count.tried += 1
        with Gallery(folder / "people") as gallery:
            whole = gallery.verify() == len(gallery)
            count.lost += len(told - gallery.names().keys())
        count.harmless += whole
        count.wrong += not whole
    return count


def enroll(address: str, photo: Path, name: str) -> None:
    """Enroll the face of a photo over HTTP; an answer but 201 is an error."""
    parts = (
        f'name="name"\r\n\r\n{name}'.encode(),
        b'name="photo"; filename="a.jpg"\r\n\r\n' + photo.read_bytes(),
    )
    form = b"\r\nContent-Disposition: form-data; "
    body = b"".join(b"--x" + form + part + b"\r\n" for part in parts) + b"--x--\r\n"
    request = urllib.request.Request(
        f"{address}api/photos",
        body,
        {"Content-Type": "multipart/form-data; boundary=x"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 201
