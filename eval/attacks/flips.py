"""Single bits that flip: in galleries, indexes, models, crop stores, checkpoints."""

import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attacks.counting import TINY, Count
from facever.data.store.crop_store import CropStore
from facever.data.store.verifying import find_damage
from facever.data.store.writer import CropWriter
from facever.errors import FaceverError
from facever.faces.templates import DEFAULT_TEMPLATE
from facever.gallery.folder import index_building
from facever.gallery.folder.gallery import Gallery
from facever.gallery.meta import Threshold
from facever.inference.formats.safetensors_file import save_model
from facever.inference.header import ModelHeader
from facever.inference.model_file import load_model
from facever.models import build_network
from facever.training import checkpoint


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
    """By ``verify`` and all readers, one after the other."""
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


def gallery_flips_unverified(folder: Path) -> Count:
    """By a search, a list and an export alone, as nobody verifies before each."""
    with Gallery.create(folder / "people", 128) as gallery:
        fill(gallery, 60, 128)
    query = np.random.default_rng(1).normal(size=(1, 128))

    def search(gallery: Gallery) -> Any:
        return gallery.search(query, 5), gallery.search(query, 5, by="mean")

    def export(gallery: Gallery) -> Any:
        return [(entries, units.tobytes()) for entries, units in gallery.read()]

    def read(reader: Any) -> Any:
        with Gallery(folder / "people") as gallery:
            return reader(gallery)

    readers = (search, export, Gallery.names, Gallery.entries)
    before, count = [read(reader) for reader in readers], Count()
    for _ in flips(folder / "people" / "gallery.sqlite", 400):
        for right, reader in zip(before, readers, strict=True):
            count.try_one(lambda right=right, reader=reader: read(reader) == right)
    return count


def index_flips(folder: Path) -> Count:
    """By a search, which says that it builds a damaged index again."""
    query = np.random.default_rng(1).normal(size=(1, 32))
    with Gallery.create(folder / "people", 32, index="sq8") as gallery:
        fill(gallery, 1200, 32)
        before = gallery.search(query)
    said: list[logging.LogRecord] = []
    log = logging.getLogger(index_building.__name__)
    log.setLevel(logging.WARNING)
    log.propagate = False
    handler = logging.Handler()
    handler.emit = said.append  # type: ignore[method-assign]
    log.addHandler(handler)

    def is_right() -> bool:
        with Gallery(folder / "people") as gallery:
            return bool(gallery.search(query) == before)

    count = Count()
    for _ in flips(folder / "people" / "gallery.index", 100):
        count.try_one(is_right)
    log.removeHandler(handler)
    count.found = len(said)
    count.harmless -= count.found
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
