"""What damage, kills, strangers' files and silent clients do to facever, counted.

    python eval/hardening.py

Every count must end with wrong 0 and lost 0: damage is found or changes nothing that is
read, a change that was acknowledged is there after a kill, a stranger's file gives a
result or one line, and a server answers whoever asks. Everything is drawn here, with
fixed seeds but for the moments of the kills. Takes five to ten minutes on two cores.
"""

import argparse
import io
import json
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from facever.data.store.crop_store import CropStore
from facever.data.store.verifying import find_damage
from facever.data.store.writer import CropWriter
from facever.environment import describe_machine, describe_versions
from facever.errors import FaceverError
from facever.faces.photos import decode_photo
from facever.faces.templates import DEFAULT_TEMPLATE
from facever.gallery.folder import index_building
from facever.gallery.folder.gallery import Gallery
from facever.gallery.meta import Threshold
from facever.inference.formats.safetensors_file import save_model
from facever.inference.header import ModelHeader
from facever.inference.model_file import load_model
from facever.models import build_network
from facever.progress import progress_bar
from facever.stages.align import align
from facever.synthetic.folders import write_photos
from facever.training import checkpoint

TINY = {"width": 1 / 16, "embedding_size": 16}
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}


@dataclass
class Count:
    """What became of some attempts.

    Attributes:
        tried: How many there were.
        refused: Ended with one of facever's errors, a line.
        harmless: Changed nothing that is read, or gave an answer that may be given.
        wrong: Gave something else without a word, or an error that is not facever's.
        lost: Acknowledged changes that were gone.
    """

    tried: int = 0
    refused: int = 0
    harmless: int = 0
    wrong: int = 0
    lost: int = 0

    def try_one(self, read: Callable[[], bool]) -> None:
        """Count an attempt; ``read`` says whether what it read is right."""
        self.tried += 1
        try:
            right = read()
        except FaceverError as error:
            self.refused += 1
            self.wrong += "\n" in str(error)
        except Exception as error:
            print(f"not facever's: {error!r}", file=sys.stderr)
            self.wrong += 1
        else:
            self.harmless += right
            self.wrong += not right


def flips(path: Path, num: int, seed: int = 0) -> Iterator[None]:
    """Flip one random bit of a file at a time; the file is as it was in the end."""
    content, rng = path.read_bytes(), random.Random(seed)
    for _ in range(num):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        yield
    path.write_bytes(content)


def fill(gallery: Gallery, num: int, dim: int = 512) -> None:
    vectors = np.random.default_rng(0).normal(size=(num, dim))
    names = [f"person {row // 2}" for row in range(num)]
    gallery.add(names, vectors, [f"{row}.jpg" for row in range(num)])
    gallery.set_threshold(Threshold(0.5, "far", 0.001, num))


def gallery_flips(folder: Path) -> Count:
    with Gallery.create(folder / "people", 512, "a" * 64) as gallery:
        fill(gallery, 60)

    def content() -> Any:
        with Gallery(folder / "people", "a" * 64) as gallery:
            gallery.verify()
            rows = [(entries, units.tobytes()) for entries, units in gallery.read()]
            return rows, gallery.names(), gallery.info()

    before, count = content(), Count()
    for _ in flips(folder / "people" / "gallery.sqlite", 400):
        count.try_one(lambda: content() == before)
    return count


def index_flips(folder: Path) -> Count:
    query = np.random.default_rng(1).normal(size=(1, 32))
    with Gallery.create(folder / "people", 32, index="sq8") as gallery:
        fill(gallery, 1200, 32)
        before = gallery.search(query)

    def found() -> Any:
        with Gallery(folder / "people") as gallery:
            return gallery.search(query)

    count = Count()
    index_building._log.disabled = True  # It says each time that it builds it again.
    for _ in flips(folder / "people" / "gallery.index", 100):
        count.try_one(lambda: found() == before)
    return count


def model_flips(folder: Path) -> Count:
    path = folder / "model.safetensors"
    network = build_network("resnet27", TINY)
    save_model(path, network, ModelHeader("resnet27", TINY, 16, threshold=0.4))
    before, count = load_model(path), Count()

    def same() -> bool:
        found = load_model(path)
        return (found.fingerprint, found.header) == (before.fingerprint, before.header)

    for _ in flips(path, 400):
        count.try_one(same)
    return count


def write_store(folder: Path) -> None:
    listing = [(f"Ann/{number}.png", "Ann") for number in range(20)]
    crops = np.random.default_rng(0).integers(0, 256, (20, 1, 112, 96, 3), np.uint8)
    unknown = np.full((1, 5, 2), np.nan), np.array([np.nan])
    settings = {"template": DEFAULT_TEMPLATE.description}
    with CropWriter(folder, settings, listing) as writer:
        for (source, _), crop in zip(listing, crops, strict=True):
            writer.add(source, crop, *unknown)
        writer.finish()


def store_flips(folder: Path) -> Count:
    """By ``data verify``, and by reading all crops for a model."""
    write_store(folder / "store")

    def content() -> Any:
        damage = find_damage(folder / "store")
        store = CropStore.open(folder / "store")
        crops = store.crops_for(store.template)[:]
        if damage:
            raise FaceverError("found")
        return store.sources, store.identities, store.fingerprint, crops.tobytes()

    before, count = content(), Count()
    for name in ("crops.npy", "crops.csv", "checksums.npy", "store.json"):
        for _ in flips(folder / "store" / name, 60):
            count.try_one(lambda: content() == before)
    return count


def checkpoint_flips(folder: Path) -> Count:
    path = folder / "checkpoint.pt"
    network = build_network("resnet27", TINY)
    content = {"format": checkpoint._FORMAT, "network": network.state_dict()}
    torch.save(content, path)
    checkpoint.read_checkpoint(path)
    count = Count()

    def same() -> bool:
        found = checkpoint.read_checkpoint(path)["network"]
        own = network.state_dict()
        return all(torch.equal(found[name], value) for name, value in own.items())

    for _ in flips(path, 200):
        count.try_one(same)
    return count


def image_mutations(folder: Path) -> Count:
    """Three random bytes of a small photo; what decodes is a picture of some kind."""
    rng, count = random.Random(0), Count()
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"):
        file = io.BytesIO()
        Image.fromarray(noise).save(file, kind)
        for _ in range(300):
            content = bytearray(file.getvalue())
            for _ in range(3):
                content[rng.randrange(len(content))] = rng.randrange(256)
            count.try_one(partial(_is_picture, bytes(content)))
    return count


def _is_picture(content: bytes) -> bool:
    photo = decode_photo(content)
    return photo.dtype == np.uint8 and photo.shape[2:] == (3,)


GALLERY_WRITER = """
import sys
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


def align_kills(folder: Path) -> Count:
    """Kill -9 of an alignment again and again; the store is that of a whole run."""
    write_photos(folder / "photos", 0, 0, num_identities=60, photos_each=10)
    landmarks = folder / "photos" / "landmarks.txt"
    align(folder / "photos", folder / "whole", landmarks=landmarks, workers=1)
    count, out = Count(), folder / "crops"
    command = [sys.executable, "-m", "facever", "align", folder / "photos", out]
    while count.tried < 10:
        with subprocess.Popen(
            [*command, "--landmarks", landmarks, "--workers", "2"],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=ENVIRONMENT,
        ) as run:
            while run.poll() is None and not (out / ".partial").exists():
                time.sleep(0.01)
            with suppress(subprocess.TimeoutExpired):
                run.wait(random.uniform(0, 3))
            run.kill()
        if run.returncode == 0:
            shutil.rmtree(out)  # It was done before it was killed: once more.
        else:
            count.tried += 1
    align(folder / "photos", out, landmarks=landmarks, workers=1)
    whole = folder / "whole"
    names = [file.name for file in whole.iterdir() if file.is_file()]
    same = [
        (folder / "whole" / n).read_bytes() == (out / n).read_bytes() for n in names
    ]
    count.harmless = count.tried * all(same)
    count.wrong = count.tried - count.harmless
    return count


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


def disk_full(folder: Path) -> Count:
    """No file may grow beyond a limit, as on a full disk."""
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


def silent_clients(folder: Path) -> Count:
    """Connections that say nothing, half a head or half a body, and others that ask."""
    save_model(
        folder / "model.safetensors",
        build_network("resnet27", TINY),
        ModelHeader("resnet27", TINY, 16),
    )
    Gallery.create(
        folder / "people", 16, load_model(folder / "model.safetensors").fingerprint
    ).close()
    serve = [sys.executable, "-m", "facever", "gallery", "serve", folder / "people"]
    options = ["--model", folder / "model.safetensors", "--port", "0", "--json"]
    count = Count()
    with subprocess.Popen(
        [*serve, *options],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as server:
        assert server.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(server.stdout.readline())
        address = json.loads("".join(lines))["address"]
        host, port = address.removeprefix("http://").strip("/").split(":")
        body = f"POST /api/verify HTTP/1.1\r\nHost: {host}:{port}\r\n"
        parts = [b"", b"GET / HT", f"{body}Content-Length: 999\r\n\r\nx".encode()]
        for num_silent in (64, 500):
            for part in parts:
                with ExitStack() as opened:
                    for _ in range(num_silent):
                        sock = socket.create_connection((host, int(port)))
                        opened.enter_context(closing(sock))
                        sock.sendall(part)
                    for _ in range(10):
                        count.try_one(lambda: _answers(f"{address}api/gallery"))
        server.terminate()
    return count


def _answers(address: str) -> bool:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return bool(answer.status == 200)


CHECKS = {
    "flipped bits of a gallery": gallery_flips,
    "flipped bits of an index file": index_flips,
    "flipped bits of a model file": model_flips,
    "flipped bits of a crop store": store_flips,
    "flipped bits of a checkpoint": checkpoint_flips,
    "mutated images": image_mutations,
    "kills of a gallery's writer": gallery_kills,
    "kills of an alignment": align_kills,
    "a full disk under a gallery": disk_full,
    "silent clients of the server": silent_clients,
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
