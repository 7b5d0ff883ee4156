"""Files changed at random: each gives a result or one of our errors, in little memory.

Every form is written anew without the library, in each of its variants, then changed as
a whole, or inside its checksums, which are put right again. 300 mutations of each run
by default, and 6,000 others with ``--hypothesis-profile explore``.
"""

import io
import pickle
import pickletools
import re
import signal
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facever.data.sources.any_source import find_photos
from facever.errors import FaceverError
from facever.faces.photo_source import NoPhoto
from facever.inference.embeddings_file import read_embeddings
from facever.verification.protocols import read_bin

# Reading takes thousands of tiny steps: too many to check the types of each.
pytestmark = pytest.mark.usefixtures("types_unchecked")

NUM_PHOTOS = 8
MAX_PIXELS = 10**5
PATIENCE = 60  # Seconds for what takes a few milliseconds.
MOST_MEMORY = 16 << 20  # Bytes, where files have a few thousand.

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
}

# How a file is changed. Places are parts of its length, or of the list of places.
PLACES = st.integers(0, (1 << 16) - 1)
CHANGES = st.one_of(
    st.tuples(st.just("field"), PLACES, PLACES),
    st.tuples(st.just("another field"), PLACES, PLACES),
    st.tuples(st.just("flip"), PLACES, st.integers(0, 7)),
    st.tuples(st.just("byte"), PLACES, st.integers(0, 255)),
    st.tuples(st.just("insert"), PLACES, st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("cut"), PLACES, st.just(0)),
    st.tuples(st.just("drop"), PLACES, st.integers(1, 600)),
    st.tuples(st.just("again"), PLACES, st.integers(1, 600)),
    st.tuples(st.just("swap"), PLACES, PLACES),
    st.tuples(st.just("zeros"), PLACES, st.integers(1, 600)),
)


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


FORMS = {
    "rec": (write_rec, use_photos),
    "bin": (write_bin, use_bin),
    "npz": (write_npz, use_npz),
    "tar": (write_tar, use_photos),
}


@contextmanager
def errors_are_ours() -> Iterator[None]:
    message = "."
    try:
        yield
    except FaceverError as error:
        message = str(error)
    assert message
    assert "\n" not in message


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


@contextmanager
def no_hang() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise AssertionError(f"nothing came of it in {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=3 * settings().max_examples)
@given(changes=st.lists(CHANGES, min_size=1, max_size=3), variant=st.integers(0, 47))
def test_a_result_or_one_line(
    form: str, inside: bool, changes: list[tuple], variant: int
) -> None:
    write, use = FORMS[form]
    with TemporaryDirectory() as folder:
        mutated = partial(mutate, form, changes)
        path = write(Path(folder), mutated, inside, variant)
        with little_memory(), no_hang(), errors_are_ours():
            list(use(path))


@pytest.mark.parametrize("variant", range(12))
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_without_a_change_all_is_read(
    tmp_path: Path, form: str, inside: bool, variant: int
) -> None:
    write, use = FORMS[form]
    results = list(use(write(tmp_path, lambda content: content, inside, variant)))
    assert len(results) == NUM_PHOTOS * (1 + (form == "bin"))
