import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.data.sources import plain_pickle
from facever.data.sources.plain_pickle import PickledArray, read_plain_pickle
from facever.errors import FileError

# Thousands of tiny steps: too many to check the types of each.
pytestmark = pytest.mark.usefixtures("types_unchecked")

PLAIN = st.recursive(
    st.binary(max_size=300) | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner, inner, inner),
)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], object]:
    def read_content(content: bytes) -> object:
        path = tmp_path / "some.bin"
        path.write_bytes(content)
        return read_plain_pickle(path)

    return read_content


@given(PLAIN, st.integers(0, 5))
def test_plain_values_read_as_pickle_reads_them(
    tmp_path_factory: pytest.TempPathFactory, value: object, protocol: int
) -> None:
    path = tmp_path_factory.mktemp("pickle") / "some.bin"
    path.write_bytes(pickle.dumps([value], protocol=protocol))
    assert read_plain_pickle(path) == [value]


@pytest.mark.parametrize("protocol", range(6))
def test_what_describes_arrays(read: Callable[[bytes], object], protocol: int) -> None:
    value = [
        0,
        255,
        256,
        65_536,
        -1,
        -(2**31),
        2**31,
        -(2**70),
        None,
        "|",
        "\xe9\u20ac",
    ]
    assert read(pickle.dumps(value, protocol=protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
def test_long_lists_and_large_bytes(
    read: Callable[[bytes], object], protocol: int
) -> None:
    rng = np.random.default_rng(0)
    # Over 256 kept values, over 64 KiB in one value, several batches of a list.
    value = [rng.bytes(70_000), [bytes([n % 256]) * 3 for n in range(2500)], (True,)]
    assert read(pickle.dumps(value, protocol=protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("column", [False, True])
def test_arrays_of_bytes(
    read: Callable[[bytes], object], protocol: int, column: bool
) -> None:
    contents = [b"\xff\xd8abc", bytes(range(256)) * 2, b"z"]
    arrays = [np.frombuffer(content, np.uint8).copy() for content in contents]
    arrays = [array[:, None] if column else array for array in arrays]
    arrays.append(np.arange(9, dtype=np.uint8)[::2])
    value = read(pickle.dumps(arrays, protocol=protocol))
    assert isinstance(value, list)
    assert all(isinstance(item, PickledArray) for item in value)
    assert [item.uint8 for item in value] == [*contents, bytes([0, 2, 4, 6, 8])]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ["?", "u1", "i1", "<i4", ">i4", "<i8", "<f4", "<f8"])
def test_numbers_of_numpy(
    read: Callable[[bytes], object], protocol: int, kind: str
) -> None:
    array = np.array([1, 0, 1, 1], dtype=kind)
    whole, *numbers = read(pickle.dumps([array, *array], protocol))
    assert np.frombuffer(whole.content, whole.kind).tolist() == array.tolist()
    assert whole.shape == (4,)
    assert numbers == array.tolist()
    assert [type(number) for number in numbers] == [type(array.tolist()[0])] * 4


@pytest.mark.parametrize("number", [1.5, -0.0, 1e300, float("inf"), -7, 10**90])
@pytest.mark.parametrize("protocol", range(6))
def test_numbers(read: Callable[[bytes], object], protocol: int, number: float) -> None:
    assert repr(read(pickle.dumps([number], protocol))) == repr([number])


def python_2(value: Any) -> bytes:
    """What Python 2's pickle of protocol 2 writes for text, lists and bools."""
    if isinstance(value, bytes):
        if len(value) < 256:
            return b"U" + bytes([len(value)]) + value
        return b"T" + struct.pack("<I", len(value)) + value
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, list):
        return b"](" + b"".join(map(python_2, value)) + b"e"
    return b"".join(map(python_2, value)) + b"\x86"


def python_2_array(content: bytes) -> bytes:
    """And for an array of uint8 (NumPy 1)."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b"
        b"\x87R(K\x01J" + struct.pack("<i", len(content)) + b"K\x01\x86cnumpy\ndtype\n"
        b"U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89" + python_2(content) + b"tb"
    )


def test_python_2(read: Callable[[bytes], object]) -> None:
    value = ([b"\xff\xd8\x00\x80" * 100, b"\xe9t\xe9"], [True, False])
    written = b"\x80\x02" + python_2(value) + b"."
    assert pickle.loads(written, encoding="bytes") == value
    assert read(written) == value


def test_python_2_arrays(read: Callable[[bytes], object]) -> None:
    contents = [b"\xff\xd8\x00\x80" * 100, b"\xe9t\xe9"]
    written = b"\x80\x02](" + b"".join(map(python_2_array, contents)) + b"e."
    by_pickle = pickle.loads(written, encoding="bytes")
    assert [array.tobytes() for array in by_pickle] == contents
    value = read(written)
    assert isinstance(value, list)
    assert [item.uint8 for item in value] == contents


class Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


class Persistent(pickle.Pickler):
    def persistent_id(self, value: object) -> object:
        return "id" if value == "persist me" else None


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("place", ["alone", "in a photo list", "in the truth"])
def test_a_call_is_never_made(
    read: Callable[[bytes], object], tmp_path: Path, protocol: int, place: str
) -> None:
    made = tmp_path / "made by a pickle"
    call = Call(os.mkdir, str(made))
    value = {
        "alone": call,
        "in a photo list": ([b"x", call], [True]),
        "in the truth": ([b"x", b"y"], [call]),
    }[place]
    content = pickle.dumps(value, protocol=protocol)
    pickle.loads(content)
    assert made.is_dir()
    made.rmdir()
    with pytest.raises(FileError, match=r"some\.bin"):
        read(content)
    assert not made.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "value",
    [
        Call(eval, "1"),
        Call(bytes.fromhex, "00"),
        Call(np.frombuffer, b"x"),
        Call(getattr, b"x", "decode"),
        Call(bytearray, 10**9),
        OrderedDict(),
        np.float16(1),
        np.complex64(1),
        np.array(["x"]),
        np.array([b"x"]),
        np.zeros((2, 3), dtype=np.int64),
        np.array([b"x", None], dtype=object),
        np.zeros((2, 2), dtype=np.uint8),
        np.zeros((), dtype=np.uint8),
        np.zeros(3, dtype=[("a", np.uint8)]),
        np.zeros(2, dtype=np.uint8).view(np.recarray),
        np.dtype("O"),
        Path("x"),
        2**40000,
        {"a": 1},
        {1},
        frozenset([1]),
        int,
        len,
        Exception("x"),
        range(3),
        slice(3),
        ...,
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_other_values_are_refused(
    read: Callable[[bytes], object], value: object, protocol: int
) -> None:
    with pytest.raises(
        FileError, match=r"some\.bin byte \d+: expected a pickle of bytes, num"
    ):
        read(pickle.dumps([b"x", value], protocol=protocol))


def test_the_name_is_told(read: Callable[[bytes], object]) -> None:
    with pytest.raises(
        FileError, match=r"byte 2: .* it names 'os\.system', which pickle"
    ):
        read(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    with pytest.raises(FileError, match=r"names 'os\.sys\\ntem\\x1b\[31m'"):
        read(b"\x80\x04\x8c\x02os\x8c\x0csys\ntem\x1b[31m\x93.")


def test_persistent_ids(tmp_path: Path) -> None:
    for protocol in range(2, 6):
        path = tmp_path / "some.bin"
        with path.open("wb") as file:
            Persistent(file, protocol).dump([b"x", "persist me"])
        with pytest.raises(FileError, match="operation b'Q' is none"):
            read_plain_pickle(path)
    path.write_bytes(b"\x80\x02Pid\n.")
    with pytest.raises(FileError, match="operation b'P' is none"):
        read_plain_pickle(path)


def test_only_known_operations(read: Callable[[bytes], object]) -> None:
    import pickletools

    known = set(b"\x80\x95N\x88\x89KMJ\x8aUTCB\x8e\x96\x8cX(]ae)t\x85\x86\x87qr\x94hjc")
    known |= set(b"\x93Rb.ILGFSVlpg")
    for code in range(256):
        if code in known:
            continue
        with pytest.raises(FileError, match=r"is none that they need; the file is dam"):
            read(b"\x80\x04(]K\x01" + bytes([code]) + b"\x00" * 20)
    # Not an oversight of this list: these are all that pickle knows.
    left = {
        opcode.name for opcode in pickletools.opcodes if ord(opcode.code) not in known
    }
    assert {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"} <= left
    assert {"PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER", "DICT"} <= left


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no pickle: it begins with b''"),
        (b"\xff\xd8\xff\xe0 a photo", r"is no pickle: it begins with b'\\xff"),
        (b"](S'x\n.", "text in quotes is damaged"),
        (b"](S'x\"\n.", "text in quotes is damaged"),
        (b"](S'\\q'\n.", "text in quotes is damaged"),
        (b"](S'\\xf'\n.", "text in quotes is damaged"),
        (b"](S'\xff'\n.", "text in quotes is damaged"),
        (b"](S'x'", "text has no end"),
        (b"](V\\u00\n.", "escaped text is damaged"),
        (b"](Ione\n.", "a whole number is none"),
        (b"](I\n.", "a whole number is none"),
        (b"](I" + b"9" * 200 + b"\n.", "text has no end"),
        (b"](Fone\n.", "a number is none"),
        (b"](G\x00.", "8 bytes are declared where 2 are left"),
        (b"](g7\n.", "nothing was kept at place 7"),
        (b"\x80\x06N.", "protocol 6 is over 5"),
        (b"\x80", "1 bytes are declared where 0 are left"),
        (b"\x80\x04", "1 bytes are declared where 0 are left"),
        (b"\x80\x04.", "the end comes before the value is whole"),
        (b"\x80\x04NN.", "the end comes before the value is whole"),
        (b"\x80\x04(N.", "the end comes before the value is whole"),
        (b"\x80\x04N.N", "1 bytes follow the end"),
        (b"\x80\x04a.", "a value is missing"),
        (b"\x80\x04]a.", "a value is missing"),
        (b"\x80\x04\x87.", "a value is missing"),
        (b"\x80\x04\x94.", "a value is missing"),
        (b"\x80\x04R.", "a value is missing"),
        (b"\x80\x04b.", "a value is missing"),
        (b"\x80\x04](a.", "a value is missing"),
        (b"\x80\x04]e.", "a mark is missing"),
        (b"\x80\x04t.", "a mark is missing"),
        (b"\x80\x04)Na.", "appended to what is no list"),
        (b"\x80\x04N(e.", "appended to what is no list"),
        (b"\x80\x04h\x00.", "nothing was kept at place 0"),
        (b"\x80\x04j\xff\xff\xff\xff.", "nothing was kept at place 4294967295"),
        (b"\x80\x04\x8c\x01\xff.", "text is not UTF-8"),
        (b"\x80\x04cos\nsystem", "text has no end"),
        (b"\x80\x04c" + b"o" * 10**6 + b"\nsystem\n.", "text has no end"),
        (b"\x80\x04NN\x93.", "a name is no text"),
        (b"\x80\x04NNR.", "not of numbers, or a call"),
        (b"\x80\x04]NR.", "not of numbers, or a call"),
        (b"\x80\x04]}b.", "operation b'}' is none"),
        (b"\x80\x04]Nb.", "fills what is no array"),
        (b"\x80\x04c_codecs\nencode\n\x8c\x01a\x8c\x05utf-8\x86R.", "or a call"),
        (
            b"\x80\x04c_codecs\nencode\n\x8c\x02\xc4\x80\x8c\x06latin1\x86R.",
            "not Latin-1",
        ),
        (b"\x80\x04c_codecs\ndecode\n.", r"it names '_codecs\.decode'"),
        (b"\x80\x04c__builtin__\nbytes\nK\x05\x85R.", "or a call"),
        (b"\x80\x04c__builtin__\neval\n.", r"it names '__builtin__\.eval'"),
        (b"\x80\x04cnumpy\nload\n.", r"it names 'numpy\.load'"),
        (b"\x80\x04cnumpy\ndtype\n\x8c\x01O\x85R.", "not of numbers"),
        (b"\x80\x04cnumpy\ndtype\n)R.", "not of numbers"),
        (
            b"\x80\x04cnumpy.core.multiarray\n_reconstruct\nN)C\x01b\x87R.",
            "not of numbers, or a call",
        ),
        (
            b"\x80\x04cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n\x8c\x02i8\x85RC\x01a"
            b"\x86R.",
            "not of numbers, or a call",
        ),
        # Arrays whose shape is not that of their bytes: a runaway allocation.
        (
            python_2_array(b"ab").replace(b"J\x02\0\0\0", b"J\xff\xff\xff\x7f"),
            "no row or",
        ),
        (python_2_array(b"ab").replace(b"K\x01\x86", b"K\x02\x86"), "no row or column"),
        (
            python_2_array(b"ab").replace(b"K\x01\x86", b"C\x01a\x86"),
            "no row or column",
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else repr(value[:12]),
)
def test_damaged_and_hostile_pickles(
    read: Callable[[bytes], object], content: bytes, says: str
) -> None:
    if content.startswith(b"cnumpy"):
        content = b"\x80\x02" + content + b"."
    with pytest.raises(FileError, match=says) as caught:
        read(content)
    assert "some.bin" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "declared",
    [
        b"B\xff\xff\xff\xff",
        b"T\xff\xff\xff\xff",
        b"T\xff\xff\xff\x7f",
        b"X\xff\xff\xff\xff",
        b"U\xff",
        b"C\xff",
        b"\x8c\xff",
        b"\x8a\xff",
        b"\x8e" + b"\xff" * 8,
        b"\x8e" + struct.pack("<Q", 10**12),
        b"\x96" + b"\xff" * 7 + b"\x7f",
        b"\x96" + struct.pack("<Q", 10**12),
        b"\x95" + struct.pack("<Q", 10**12),
    ],
    ids=repr,
)
def test_declared_sizes_allocate_nothing(
    read: Callable[[bytes], object], declared: bytes
) -> None:
    tracemalloc.start()
    with pytest.raises(
        FileError, match=r"\d+ bytes (are|is) declared where 5 are left"
    ):
        read(b"\x80\x04" + declared + b"only.")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_giant_places_of_kept_values(read: Callable[[bytes], object]) -> None:
    tracemalloc.start()
    value = read(b"\x80\x02Nr\xff\xff\xff\xff.")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert value is None
    assert peak < 2**20


@pytest.mark.parametrize("operation", [b"(", b"]", b"N", b"\x94", b"\x85", b")"])
def test_endless_operations(
    read: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch, operation: bytes
) -> None:
    monkeypatch.setattr(plain_pickle, "MAX_OPERATIONS", 50_000)
    with pytest.raises(FileError, match="more than 50000 operations"):
        read(b"\x80\x04N" + operation * 60_000)


def test_a_text_is_not_made_into_bytes_again_and_again(
    read: Callable[[bytes], object],
) -> None:
    size = 2**20
    encode = b"c_codecs\nencode\nq\x00"
    kept = b"X" + struct.pack("<I", size) + b"a" * size + b"q\x01"
    latin = b"X\x06\x00\x00\x00latin1q\x02"
    again = b"h\x00h\x01h\x02\x86R"
    begin = b"\x80\x02](" + encode + kept + latin + again
    once = read(begin + b"e.")
    assert isinstance(once, list)
    assert once[-1] == b"a" * size
    tracemalloc.start()
    with pytest.raises(FileError, match="more bytes than the file has"):
        read(begin + again * 1000 + b"e.")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * size


def test_deep_and_endless_values(read: Callable[[bytes], object]) -> None:
    deep = read(b"\x80\x04)" + b"\x85" * 20_000 + b".")
    assert isinstance(deep, tuple)
    endless = read(b"\x80\x04]q\x00h\x00a.")
    assert isinstance(endless, list)
    assert endless[0] is endless
    # As the arguments of a call, where values are compared.
    for function in (b"c_codecs\nencode\n", b"cnumpy\ndtype\n", b"N"):
        for value in (b")" + b"\x85" * 20_000, b"]q\x00h\x00a"):
            for operation in (b"R", b"b"):
                with pytest.raises(FileError, match=r"it (describes|fills)"):
                    read(b"\x80\x04" + function + value + b"\x85" + operation + b".")


def test_too_large_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_pickle, "MAX_FILE_BYTES", 10)
    path = tmp_path / "some.bin"
    path.write_bytes(pickle.dumps(b"0123456789"))
    with pytest.raises(FileError, match="too large: 25 bytes, the limit is 10"):
        read_plain_pickle(path)


def test_unreadable_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(FileError, match="cannot read"):
            read_plain_pickle(path)


@given(st.binary(max_size=60))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("pickle") / "some.bin"
    path.write_bytes(b"\x80\x04" + content)
    with suppress(FileError):
        read_plain_pickle(path)
