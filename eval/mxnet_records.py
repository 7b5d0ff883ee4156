"""Records as MXNet reads them, beside what facever reads, photo by photo.

    python -m venv MX && MX/bin/pip install mxnet==1.9.1 'numpy<1.24'
    python eval/mxnet_records.py --mxnet MX/bin/python [FILE.rec ...]

MXNet 1.9.1 writes files of many kinds: one label, several, both mixed; keys in any
order, headers that say other keys; with and without record 0; records that hold the
magic number. It reads them and the files that are given as InsightFace's dataset does,
with its own ``MXIndexedRecordIO`` and ``unpack``. Every key, label and byte must be
what facever reads. MXNet wants an older NumPy, hence an environment of its own.
"""

import argparse
import json
import subprocess
import sys
import zlib
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

MAGIC = (0xCED7230A).to_bytes(4, "little")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--mxnet", type=Path, required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/mxnet-records.json")
    )
    options = parser.parse_args()

    with TemporaryDirectory() as folder:
        given = [str(path) for path in options.files]
        command = [options.mxnet, __file__, "inside", folder, str(options.count)]
        ran = subprocess.run([*command, *given], stdout=subprocess.PIPE, check=True)
        theirs = json.loads(ran.stdout)
        same = {path: read(Path(path)) == photos for path, photos in theirs.items()}
    for path in (path for path, equal in same.items() if not equal):
        print(f"others than MXNet's: {path}")
    result = {
        "what": "key, label and bytes of every photo as MXNet 1.9.1 reads them",
        "files": len(same),
        "files_given": [f"{path.parent.name}/{path.name}" for path in options.files],
        "photos": sum(map(len, theirs.values())),
        "files_that_are_equal": sum(same.values()),
    }
    print(json.dumps(result, indent=2))
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.exit(not all(same.values()))


def read(path: Path) -> dict[str, list[float]]:
    """Label and checksum of each photo by its key, as facever reads them."""
    from facever.data.recordio.photos import list_record_photos

    return {
        str(int(photo.source)): [
            float(photo.identity),
            zlib.crc32(photo.part.read(path)),
        ]
        for photo in list_record_photos(path).photos
    }


def inside_mxnet(folder: Path, count: int, given: list[str]) -> None:
    """Write files with MXNet, and print what it reads of these and of those given."""
    from mxnet import recordio

    paths = [str(folder / f"{number}.rec") for number in range(count)]
    for number, path in enumerate(paths):
        write_with_mxnet(recordio, path, Random(number))
    print(json.dumps({path: read_with_mxnet(recordio, path) for path in paths + given}))


def write_with_mxnet(recordio, path: str, random: Random) -> None:
    records = recordio.MXIndexedRecordIO(path[:-3] + "idx", path, "w")
    num_photos = random.randint(1, 30)
    keys = list(range(1, num_photos + 1))
    has_identities, is_shuffled = random.random() < 0.5, random.random() < 0.3
    if is_shuffled:
        random.shuffle(keys)
    for key in keys:
        pieces = [random.randbytes(random.randint(0, 20)), MAGIC]
        photo = b"\xff\xd8" + b"".join(random.choices(pieces, k=random.randint(0, 9)))
        label = random.randrange(9)
        more = [random.choice([0.0, 1.0, -2.5]) for _ in range(random.randint(0, 3))]
        labels = float(label) if random.random() < 0.5 else [float(label), *more]
        own = random.choice([key, 0, random.randrange(1 << 40)])
        records.write_idx(
            key, recordio.pack(recordio.IRHeader(0, labels, own, 0), photo)
        )
    if has_identities:
        end = random.randint(1, num_photos + 1)
        header = recordio.IRHeader(0, [float(end), float(end + 2)], 0, 0)
        records.write_idx(0, recordio.pack(header, b""))
    records.close()


def read_with_mxnet(recordio, path: str) -> dict[str, list[float]]:
    """As MXFaceDataset of InsightFace's arcface_torch/dataset.py does."""
    records = recordio.MXIndexedRecordIO(path[:-3] + "idx", path, "r")
    keys = list(records.keys)
    if 0 in records.idx:
        header, photo = recordio.unpack(records.read_idx(0))
        if header.flag > 0 and not photo:
            keys = range(1, int(header.label[0]))
    found = {}
    for key in keys:
        header, photo = recordio.unpack(records.read_idx(key))
        label = header.label if header.flag == 0 else header.label[0]
        found[str(key)] = [float(label), zlib.crc32(photo)]
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["inside"]:
        inside_mxnet(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    else:
        main()
