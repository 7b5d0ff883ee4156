"""Files of every form, changed at random; tests/test_mutated_files.py draws from here.

Every form is written anew without the library, in each of its variants, then changed as
a whole, or inside its checksums, which are put right again.
"""

import io
import json
import pickle
import pickletools
import random
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from attacks.counting import TINY, Count
from facever.data.sources.any_source import find_photos
from facever.errors import FaceverError
from facever.faces.photo_source import NoPhoto
from facever.inference.embeddings_file import read_embeddings
from facever.inference.formats.safetensors_file import save_model
from facever.inference.header import ModelHeader
from facever.inference.model_file import load_model
from facever.models import build_network
from facever.verification.protocols import read_bin

NUM_PHOTOS = 8
MAX_PIXELS = 10**5

Mutate = Callable[[bytes], bytes]


def image(kind: str, number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (96, 112), (20 * number, 90, 200)).save(file, kind)
    return file.getvalue()


PHOTOS = [
    image("JPEG" if number % 2 else "PNG", number) for number in range(NUM_PHOTOS)
]


def at(pattern: bytes, *steps: int) -> Callable[[bytes], list[int]]:
    """Finds places by what stands so many bytes before."""
    return lambda content: [
        found.start() + step
        for found in re.finditer(pattern, content)
        for step in steps
    ]


def operations(content: bytes) -> list[int]:
    """The places of a pickle's operations."""
    places = []
    with suppress(ValueError):
        places += [place for _, _, place in pickletools.genops(content)]
    return places


def words(*values: int) -> list[bytes]:
    return [struct.pack("<I", value) for value in values]


ODD_WORDS = words(0, 1, 2, 0xFF, 1 << 20, 0x1FFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
ODD_OCTALS = [b"0" * 11, b"7" * 11, b"-0000000005", b"\x80" + bytes(7), b"\xff" * 12]
MAGIC = rb"\x0a\x23\xd7\xce"
OPERATIONS = [
    *(bytes([code]) for code in b"NKJ]}(.ltaeRb0\x81\x85\x86\x87\x88\x89\x93\x94"),
    *(b"h\x00", b"K\x02", b"\x8a\x01\xff", b"G\x7f\xf8" + bytes(6), b"I00\n"),
    *(b"L9999L\n", b"S'x'\n", b"Vx\n", b"g1\n", b"F1e9\n", b"B\xff\xff\xff\x7f"),
    *(b"\x8e" + b"\xff" * 8, b"X\x01\x00\x00\x00x", b"c__builtin__\nbytes\n"),
    *(b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"),
]

# What a reader looks for, where, and what may stand there in its place.
FIELDS = {
    "rec": [
        (at(MAGIC, 0), words(0, 0xCED7230B)),
        (at(MAGIC, 4), [*ODD_WORDS, *words(0x20000008, 0x60000000)]),
        (at(MAGIC, 8), ODD_WORDS),
        (
            at(MAGIC, 12, 32, 36),
            [struct.pack("<f", x) for x in (1.5, -1, 2**24, 9, float("nan"))],
        ),
        (at(rb"^", 0), [b"0\t0\n", b"1\t99999999\n", b"7\t4\n", b"-1\n"]),
    ],
    "bin": [
        (operations, OPERATIONS),
        (
            operations,
            [b"0N", b"0K\x02", b"0]", b"0G\x7f\xf8" + bytes(6), b"0\x88", b"0h\x00"],
        ),
        (at(rb"\xff[\xc0-\xfe]", 1, 3, 5, 7), [b"\xff", b"\0", b"\0\0", b"\xff\xff"]),
        (at(rb"IHDR|IDAT", -4, 4, 8), [word[::-1] for word in ODD_WORDS]),
    ],
    "npz": [
        (at(rb"PK\x01", 4, 8, 10, 16, 20, 24, 28, 42), ODD_WORDS),
        (at(rb"PK\x03", 4, 6, 8, 14, 18, 22, 26), ODD_WORDS),
        (at(rb"PK\x05", 4, 8, 10, 12, 16, 20), ODD_WORDS),
        (at(rb"NUMPY", 5, 6, 7), [b"\x01", b"\x02", b"\x03", b"\xff", b"\x0e\x00"]),
        (
            at(rb"'[<|]", 0),
            [
                b"'|O'",
                b"'<f8'",
                b"'<U9'",
                b"'<i8'",
                b"'|V9'",
                b"'<c8'",
                b"[('a','<f2')]",
            ],
        ),
        (
            at(rb"\([0-9]", 0),
            [b"(7, 8)", b"(7,  )", b"(9, 8)", b"()    ", b"(8888888888,)", b"(-1, 8)"],
        ),
        (at(rb"[{(',:)}]", 0), [bytes([sign]) for sign in b"{(',:)}[\n\\"]),
    ],
    "tar": [
        (at(rb"ustar", -133), ODD_OCTALS),
        (at(rb"ustar", -101), [bytes([kind]) for kind in b"01234567LKSxgXAV"]),
        (at(rb"ustar", -257), [b"../", b"/", b"\0", b"a/", b"a.png\0"]),
        (at(rb"ustar", 0), [b"ustar  \0", b"ustar\x0000"]),
        (at(rb"ustar", -109, -121, 88, 129, 226), ODD_OCTALS),
        (
            at(rb"[0-9]+ path=", 0),
            [
                *(b"11 size=-5\n", b"22 GNU.sparse.map=a,b\n", b"999 path=", b"0 p=\n"),
                *(b"22 GNU.sparse.major=1\n", b"21 hdrcharset=UTF-16\n"),
                *(b"15 mtime=1e999\n", b"20 GNU.sparse.size=x\n"),
            ],
        ),
        (at(rb"[{\[:,\]}]", 0), [bytes([sign]) for sign in b'{[:,]}"9e']),
    ],
    "model": [
        (at(rb"[{\[:,\]}]", 0), [bytes([sign]) for sign in b'{[:,]}"9e']),
        (at(rb"[:, ]-?[0-9]", 1), [b"-1", b"1e999", b"NaN", b"[", b'"', b"9" * 20]),
        (at(rb"F32", 0), [b"F64", b"I32", b"F16", b"BF1", b'U8"', b"X99"]),
        (at(rb"^", 0), [size.to_bytes(8, "little") for size in (0, 9, 1 << 62)]),
    ],
}
FIELDS["image"] = FIELDS["bin"][2:]


def mutate(form: str, changes: list[tuple], content: bytes) -> bytes:
    for how, place, value in changes:
        content = change(form, content, how, place, value)
    return content


def change(form: str, content: bytes, how: str, place: int, value: Any) -> bytes:
    part = place * len(content) >> 16
    before, behind = content[:part], content[part:]
    match how:
        case "field" | "another field":
            find, values = FIELDS[form][value % len(FIELDS[form])]
            if places := find(content):
                found = max(places[place % len(places)], 0)
                new = values[value // len(FIELDS[form]) % len(values)]
                rest = (
                    content[found:]
                    if how == "another field"
                    else content[found + len(new) :]
                )
                return content[:found] + new + rest
        case "flip" if behind:
            return before + bytes([behind[0] ^ 1 << value]) + behind[1:]
        case "byte":
            return before + bytes([value]) + behind[1:]
        case "insert":
            return before + value + behind
        case "cut":
            return before
        case "drop":
            return before + behind[value:]
        case "again":
            return before + behind[:value] + behind
        case "swap":
            return behind + before
        case "zeros":
            return before + bytes(len(behind[:value])) + behind[value:]
    return content


def write_rec(folder: Path, mutated: Mutate, inside: bool, variant: int) -> Path:
    """InsightFace's layout, or labels alone with or without index; inside is that."""
    shown = [(NUM_PHOTOS + 1, NUM_PHOTOS + 5)]
    shown += [(number // 2, 1) for number in range(NUM_PHOTOS)]
    shown += [(2 * number + 1, 2 * number + 3) for number in range(4)]
    is_insightface = variant % 3 == 0
    content, lines = b"", []
    for key, (first, second) in enumerate(shown):
        is_photo = 0 < key <= NUM_PHOTOS
        if is_insightface:
            record = struct.pack("<IfQQ2f", 2, 0, key, 0, first, second)
        elif is_photo:
            record = struct.pack("<IfQQ", 0, first, key, 0)
        else:
            continue
        record += PHOTOS[key - 1] if is_photo else b""
        lines.append(f"{key}\t{len(content)}\n")
        content += struct.pack("<II", 0xCED7230A, len(record)) + record
        content += bytes(-len(record) % 4)
    path = folder / "train.rec"
    path.write_bytes(content if inside else mutated(content))
    index = "".join(lines).encode()
    if variant % 3 != 1:
        path.with_suffix(".idx").write_bytes(mutated(index) if inside else index)
    return path


def write_bin(folder: Path, mutated: Mutate, inside: bool, variant: int) -> Path:
    """A pair set of protocol 0 to 5, of bytes or arrays; inside is a photo."""
    truth = [pair % 2 == 0 for pair in range(NUM_PHOTOS // 2)]
    photos = list(PHOTOS)
    if inside:
        photos[variant % NUM_PHOTOS] = mutated(photos[variant % NUM_PHOTOS])
    value = photos, truth
    if variant % 2:
        value = [np.frombuffer(photo, np.uint8) for photo in photos], np.array(truth)
    content = pickle.dumps(value, variant % 6)
    path = folder / "set.bin"
    path.write_bytes(content if inside else mutated(content))
    return path


COMPRESSIONS = [
    *(zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
]


def write_npz(folder: Path, mutated: Mutate, inside: bool, variant: int) -> Path:
    """Embeddings; inside is an array, whose checksum is right."""
    rng = np.random.default_rng(0)
    arrays = {
        "embeddings": rng.normal(size=(NUM_PHOTOS, 8)).astype(np.float16),
        "images": np.array([f"A/{number}.jpg" for number in range(NUM_PHOTOS)]),
        "model_fingerprint": np.array("abc"),
        "checksums": np.arange(NUM_PHOTOS, dtype=np.uint32),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", COMPRESSIONS[variant % 4]) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array)
            content = member.getvalue()
            if inside and name == list(arrays)[variant // 4 % 4]:
                content = mutated(content)
            archive.writestr(f"{name}.npy", content)
    path = folder / "embeddings.npz"
    path.write_bytes(packed.getvalue() if inside else mutated(packed.getvalue()))
    return path


TAR_FORMATS = [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]


def write_tar(folder: Path, mutated: Mutate, inside: bool, variant: int) -> Path:
    """A webdataset with long names; inside its headers have the right sums."""
    packed = io.BytesIO()
    form = TAR_FORMATS[variant % 3]
    with tarfile.open(fileobj=packed, mode="w", format=form) as tar:
        for number, photo in enumerate(PHOTOS):
            landmarks = [[30, 51], [65, 51], [48, 71], [33, 92], [62, 92]]
            signs = f'{{"label": {number // 2}, "landmarks": {landmarks}}}'.encode()
            folders = "ä" * 11 + "/"
            for suffix, content in ((".png", photo), (".json", signs)):
                member = tarfile.TarInfo(f"{folders * (number + 1)}{number}{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    content = mutated(packed.getvalue())
    path = folder / "shard.tar"
    path.write_bytes(mend_sums(content) if inside else content)
    return path


def mend_sums(content: bytes) -> bytes:
    mended = bytearray(content)
    for at in range(0, len(mended) - 511, 512):
        if mended[at + 257 : at + 262] == b"ustar":
            total = sum(mended[at : at + 512]) - sum(mended[at + 148 : at + 156]) + 256
            mended[at + 148 : at + 156] = b"%06o\0 " % total
    return bytes(mended)


IMAGES = ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"]


def write_image(folder: Path, mutated: Mutate, inside: bool, variant: int) -> Path:
    """A photo; inside is a PNG, whose checksums are right."""
    kind = "PNG" if inside else IMAGES[variant % len(IMAGES)]
    content = mutated(image(kind, 1 + variant // len(IMAGES)))
    path = folder / "photo.jpg"
    path.write_bytes(mend_chunks(content) if inside else content)
    return path


def mend_chunks(content: bytes) -> bytes:
    """A PNG whose chunks have the right checksums, as far as there are chunks."""
    mended, at = bytearray(content), 8
    while at + 12 <= len(mended):
        stop = at + 8 + int.from_bytes(mended[at : at + 4])
        if stop + 4 > len(mended):
            break
        mended[stop : stop + 4] = zlib.crc32(mended[at + 4 : stop]).to_bytes(4)
        at = stop + 4
    return bytes(mended)


def write_model(folder: Path, mutated: Mutate, inside: bool, variant: int) -> Path:
    """A model file; inside is the text of its header, without a digest."""
    content = model_file()
    if inside:
        size = int.from_bytes(content[:8], "little")
        listed = json.loads(content[8 : 8 + size])
        text = json.loads(listed["__metadata__"]["facever"])
        del text["digest"]
        changed = mutated(json.dumps(text).encode()).decode(errors="replace")
        listed["__metadata__"]["facever"] = changed
        line = json.dumps(listed).encode()
        line += b" " * (-len(line) % 8)
        content = len(line).to_bytes(8, "little") + line + content[8 + size :]
    path = folder / "model.safetensors"
    path.write_bytes(content if inside else mutated(content))
    return path


@cache
def model_file() -> bytes:
    header = ModelHeader("resnet27", TINY, 16, threshold=0.4, thresholds=[(0.1, 0.2)])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_model(path, build_network("resnet27", TINY), header)
        return path.read_bytes()


@contextmanager
def errors_are_ours() -> Iterator[None]:
    """Take an error of facever for an answer, if it is one line."""
    message = "."
    try:
        yield
    except FaceverError as error:
        message = str(error)
    assert message
    assert "\n" not in message


def use_photos(path: Path) -> Iterator[object]:
    photos = find_photos(path).photos
    assert len({photo.source for photo in photos}) == len(photos)
    for photo in photos:
        if path.suffix == ".rec":
            assert (photo.identity == "") == isinstance(photo.part, NoPhoto)
        with errors_are_ours():
            assert photo.read(MAX_PIXELS).size <= 3 * MAX_PIXELS
            yield photo


def use_bin(path: Path) -> Iterator[object]:
    yield from use_photos(path)
    found = read_bin(path)
    assert len(found.photos) == 2 * len(found.pairs)
    decoded = found.decode()
    assert len(decoded.crops) + len(decoded.broken) == len(found.photos)
    yield from decoded.crops


def use_npz(path: Path) -> Iterator[object]:
    found = read_embeddings(path)
    assert found.embeddings.shape[0] == len(found.images)
    yield from found.images


def use_model(path: Path) -> Iterator[object]:
    yield load_model(path).header


class Form(NamedTuple):
    """A form of files.

    Attributes:
        write: Writes a file of a variant into a folder, with what a function makes of
            it, or of what is inside it.
        use: Reads all that is in a file.
        num_results: How many things are in one that was not changed.
    """

    write: Callable[[Path, Mutate, bool, int], Path]
    use: Callable[[Path], Iterator[object]]
    num_results: int


FORMS = {
    "rec": Form(write_rec, use_photos, NUM_PHOTOS),
    "bin": Form(write_bin, use_bin, 2 * NUM_PHOTOS),
    "npz": Form(write_npz, use_npz, NUM_PHOTOS),
    "tar": Form(write_tar, use_photos, NUM_PHOTOS),
    "image": Form(write_image, use_photos, 1),
    "model": Form(write_model, use_model, 1),
}


def mutation_counts(folder: Path, form: str, num: int) -> Count:
    """Files with one to three changes, half of them inside.

    Nobody can say what is right in them: whatever is read is harmless. A file of which
    nothing is read is refused, thing by thing.
    """
    count, rng = Count(), random.Random(0)
    write, use, _ = FORMS[form]

    def is_read(path: Path) -> bool:
        if not list(use(path)):
            raise FaceverError("each thing in it was refused")
        return True

    for number in range(num):
        changes = [draw_change(rng) for _ in range(rng.randint(1, 3))]
        mutated, inside = partial(mutate, form, changes), number % 2 == 1
        path = write(folder, mutated, inside, rng.randrange(48))
        count.try_one(partial(is_read, path))
    return count


def draw_change(rng: random.Random) -> tuple[str, int, Any]:
    """Any change, as the strategies of the tests draw them."""
    values: dict[str, Callable[[], Any]] = {
        "field": lambda: rng.randrange(1 << 16),
        "another field": lambda: rng.randrange(1 << 16),
        "flip": lambda: rng.randrange(8),
        "byte": lambda: rng.randrange(256),
        "insert": lambda: rng.randbytes(rng.randint(1, 40)),
        "cut": lambda: 0,
        "drop": lambda: rng.randint(1, 600),
        "again": lambda: rng.randint(1, 600),
        "swap": lambda: rng.randrange(1 << 16),
        "zeros": lambda: rng.randint(1, 600),
    }
    how = rng.choice(list(values))
    return how, rng.randrange(1 << 16), values[how]()
