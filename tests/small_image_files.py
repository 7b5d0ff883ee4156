"""Small image sets written in the published forms, by other means than the readers."""

import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np


def draw(
    num_images: int, shape: tuple[int, ...], num_classes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images with a pattern of their class under noise."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(7).integers(40, 215, (num_classes, *shape))
    labels = np.arange(num_images) % num_classes
    noise = rng.integers(-40, 41, (num_images, *shape))
    return (patterns[labels] + noise).astype(np.uint8), labels


def write_mnist(
    folder: Path, packed: bool = True, num_train: int = 200, num_test: int = 50
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for part, name, number in (
        ("train", "train", num_train),
        ("test", "t10k", num_test),
    ):
        images, labels = draw(number, (28, 28), 10, number)
        written[part] = images[:, None], labels
        for what, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(">HBB", 0, 8, array.ndim)
            header += struct.pack(f">{array.ndim}I", *array.shape)
            content = header + array.astype(np.uint8).tobytes()
            path = folder / f"{name}-{what}-ubyte"
            if packed:
                path = path.with_name(path.name + ".gz")
                content = gzip.compress(content)
            path.write_bytes(content)
    return written


def write_cifar(
    folder: Path, classes: int, form: str, per_file: int = 100, packed: bool = False
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """CIFAR of 10 or 100 classes; the form is python or binary."""
    if classes == 10:
        train = [f"data_batch_{number}" for number in range(1, 6)]
        test = "test_batch"
        inside = "cifar-10-batches-py" if form == "python" else "cifar-10-batches-bin"
    else:
        train, test = ["train"], "test"
        inside = "cifar-100-python" if form == "python" else "cifar-100-binary"
    files, parts = {}, {}
    for seed, name in enumerate([*train, test]):
        images, labels = draw(per_file, (3, 32, 32), classes, seed)
        parts[name] = images, labels
        rows = images.reshape(per_file, -1)
        if form == "python":
            files[name] = pickle_like_python_2(rows, labels, classes)
        else:
            before = [labels] if classes == 10 else [labels // 5, labels]
            columns = [np.array(each, np.uint8)[:, None] for each in before]
            files[f"{name}.bin"] = np.hstack([*columns, rows]).tobytes()
    if packed:
        folder.mkdir(parents=True, exist_ok=True)
        kind = "python" if form == "python" else "binary"
        with tarfile.open(folder / f"cifar-{classes}-{kind}.tar.gz", "w:gz") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(f"{inside}/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    else:
        (folder / inside).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / inside / name).write_bytes(content)
    joined = [np.concatenate([parts[name][i] for name in train]) for i in (0, 1)]
    return {"train": (joined[0], joined[1]), "test": parts[test]}


def pickle_like_python_2(rows: np.ndarray, labels: np.ndarray, classes: int) -> bytes:
    """The operations that Python 2's cPickle wrote the published files with."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def number(value: int) -> bytes:
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)

    def numbers(values: np.ndarray) -> bytes:
        return b"](" + b"".join(number(int(value)) for value in values) + b"e"

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R("
        + b"K\x01"
        + number(rows.shape[0])
        + number(rows.shape[1])
        + b"\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        + b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<I", rows.size)
        + rows.tobytes()
        + b"tb"
    )
    names = b"](" + b"".join(text(b"some_%d.png" % i) for i in range(len(rows))) + b"e"
    items = [text(b"batch_label"), text(b"training batch 1 of 5")]
    if classes == 10:
        items += [text(b"labels"), numbers(labels)]
    else:
        items += [text(b"fine_labels"), numbers(labels)]
        items += [text(b"coarse_labels"), numbers(labels // 5)]
    items += [text(b"data"), array, text(b"filenames"), names]
    content = b"\x80\x02}(" + b"".join(items) + b"u."
    assert set(pickle.loads(content, encoding="bytes")) >= {b"data", b"filenames"}
    return content
