"""Read a pickle of plain values without pickle: nothing that it names is ever run.

A pickle is a program for a stack machine, and ``pickle`` lets that program import and
call anything. The machine here knows only what bytes, numbers, lists, tuples and bools
need, in each of the protocols 0 to 5. Of names it knows the few with which NumPy writes
numbers and arrays of them, and Python 3 writes bytes in protocols 0 to 2: they are
signs that are compared here, never imported. Everything else ends the reading.

Memory is bounded by the size of the file: a declared size is compared with what is left
of the file before anything is read, the memo is a dict (a damaged byte can
make that of ``pickle.Unpickler`` take gigabytes), the operations are counted, and no
operation copies a value.
"""

import codecs
import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NoReturn

import numpy as np

from facever.errors import FileError

MAX_FILE_BYTES = 1 << 30

# Protocols 0 and 1 have no head: a tuple begins with a mark, a list with itself.
_BEGINNINGS = b"\x80", b"(", b"]"
_MAX_NAME_BYTES = 100
# Text as Python 2 writes it: in quotes, with the escapes that it uses and no others.
_QUOTED = re.compile(
    rb"""(['"])(?:[ -\[\]-~]|\\[\\'"nrt]|\\x[0-9a-f]{2})*\1""", re.DOTALL
)
MAX_OPERATIONS = 2_000_000  # LFW's 12,000 photos take 30,000, as arrays 270,000.
LAST_PROTOCOL = 5

_STOP = b"."


class PickledArray:
    """A NumPy array of numbers or bools, as its bytes.

    Attributes:
        content: The bytes; None if the pickle never filled the array.
        kind: What its elements are, as NumPy spells it, such as ``|u1`` or ``<i8``.
        shape: Whatever the machine that read it allows.
        by_columns: Whether the first index runs fastest, as in Fortran.
    """

    def __init__(self) -> None:
        self.content: bytes | None = None
        self.kind = ""
        self.shape: tuple[int, ...] = ()
        self.by_columns = False

    @property
    def uint8(self) -> bytes | None:
        """The elements where they are of uint8; None otherwise."""
        return self.content if self.kind == "|u1" else None


def read_plain_pickle(path: Path) -> object:
    """Read a pickle of bytes, numbers, lists, tuples and bools, of protocol 0 to 5.

    Text of Python 2 is taken as bytes. Lists are shared where the pickle shares them,
    and a hostile one can hold itself: look at the type of a value before comparing or
    printing it.

    Args:
        path: The file.

    Returns:
        The value. Beside these types it may hold ``PickledArray``, and text, None and
        signs, which describe arrays.

    Raises:
        FileError: If the file cannot be read, is over 1 GiB, is no pickle of such a
            protocol, is damaged, or holds anything else: another class, a call, a
            persistent id. The message names file and byte.
    """
    try:
        with path.open("rb") as file:
            # Asked for more bytes than the file has, read would make room for them.
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise FileError(
                    f"{path} is too large: {size} bytes, the limit is {MAX_FILE_BYTES}"
                )
            content = file.read(size)
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from None
    if not content.startswith(_BEGINNINGS):
        raise FileError(
            f"{path} is no pickle: it begins with {content[:8]!r}; give a pair set as "
            "Python's pickle writes it"
        )
    return PlainMachine(path, content).run()


class PickleMachine:
    """Builds bytes, text, numbers, bools, None, lists and tuples.

    Args:
        path: Where the pickle is from, for messages.
        content: A pickle of protocol 0 to 5. Text of Python 2 becomes bytes.

    Attributes:
        expected: What such a file holds, for messages.
    """

    expected = "bytes, numbers, lists, tuples and bools"

    def __init__(self, path: Path, content: bytes) -> None:
        self._path = path
        self._content = content
        self._at = 0
        self._operation_at = 0
        self._stack: list[object] = []
        self._below: list[list[object]] = []
        self._memo: dict[int, object] = {}
        # The comments are the names of the operations in pickletools.
        self.operations: dict[bytes, Callable[[], None]] = {
            b"\x80": self._check_protocol,  # PROTO
            b"\x95": self._check_frame,  # FRAME
            b"N": lambda: self.push(None),  # NONE
            b"\x88": lambda: self.push(True),  # NEWTRUE
            b"\x89": lambda: self.push(False),  # NEWFALSE
            b"K": lambda: self.push(self._number(1)),  # BININT1
            b"M": lambda: self.push(self._number(2)),  # BININT2
            b"J": lambda: self.push(self._number(4, signed=True)),  # BININT
            b"\x8a": lambda: self.push(self._number(self._number(1), signed=True)),
            b"I": lambda: self.push(self._written_number()),  # INT
            b"L": lambda: self.push(self._written_number()),  # LONG
            b"G": lambda: self.push(struct.unpack(">d", self._take(8))[0]),  # BINFLOAT
            b"F": lambda: self.push(self._written_float()),  # FLOAT
            b"S": lambda: self.push(self._quoted()),  # STRING
            b"V": lambda: self.push(self._escaped()),  # UNICODE
            b"U": lambda: self.push(self._take(self._number(1))),  # SHORT_BINSTRING
            b"T": lambda: self.push(self._take(self._number(4))),  # BINSTRING
            b"C": lambda: self.push(self._take(self._number(1))),  # SHORT_BINBYTES
            b"B": lambda: self.push(self._take(self._number(4))),  # BINBYTES
            b"\x8e": lambda: self.push(self._take(self._number(8))),  # BINBYTES8
            b"\x96": lambda: self.push(self._take(self._number(8))),  # BYTEARRAY8
            b"\x8c": lambda: self.push(self._text(1)),  # SHORT_BINUNICODE
            b"X": lambda: self.push(self._text(4)),  # BINUNICODE
            b"(": self._mark,  # MARK
            b"]": lambda: self.push([]),  # EMPTY_LIST
            b"l": lambda: self.push(self.pop_to_mark()),  # LIST
            b"a": lambda: self._extend([self.pop()]),  # APPEND
            b"e": lambda: self._extend(self.pop_to_mark()),  # APPENDS
            b")": lambda: self.push(()),  # EMPTY_TUPLE
            b"t": lambda: self.push(tuple(self.pop_to_mark())),  # TUPLE
            b"\x85": lambda: self._push_tuple(1),  # TUPLE1
            b"\x86": lambda: self._push_tuple(2),  # TUPLE2
            b"\x87": lambda: self._push_tuple(3),  # TUPLE3
            b"p": lambda: self._keep(self._written_number()),  # PUT
            b"g": lambda: self._push_kept(self._written_number()),  # GET
            b"q": lambda: self._keep(self._number(1)),  # BINPUT
            b"r": lambda: self._keep(self._number(4)),  # LONG_BINPUT
            b"\x94": lambda: self._keep(len(self._memo)),  # MEMOIZE
            b"h": lambda: self._push_kept(self._number(1)),  # BINGET
            b"j": lambda: self._push_kept(self._number(4)),  # LONG_BINGET
        }

    def run(self) -> object:
        """The value of the pickle.

        Raises:
            FileError: If the pickle is damaged or asks for another operation.
        """
        for _ in range(MAX_OPERATIONS):
            self._operation_at = self._at
            code = self._take(1)
            if code == _STOP:
                return self._finish()
            operation = self.operations.get(code)
            if operation is None:
                self.refuse(
                    f"operation {code!r} is none that they need; the file is damaged "
                    "or made to run code"
                )
            operation()
        self.refuse(f"there are more than {MAX_OPERATIONS} operations")

    def _finish(self) -> object:
        if len(self._stack) != 1 or self._below:
            self.refuse("the end comes before the value is whole")
        if self._at != len(self._content):
            self.refuse(f"{len(self._content) - self._at} bytes follow the end")
        return self._stack[0]

    def refuse(self, reason: str) -> NoReturn:
        """Raise a FileError that names file, byte and reason."""
        raise FileError(
            f"{self._path} byte {self._operation_at}: expected a pickle of "
            f"{self.expected}; {reason}"
        )

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self._stack.append(value)

    def pop(self) -> object:
        """Take the last value from the stack."""
        if not self._stack:
            self.refuse("a value is missing")
        return self._stack.pop()

    def line(self, max_bytes: int) -> str:
        """The text up to the end of the line."""
        return self._line(max_bytes).decode("ascii", errors="backslashreplace")

    def _line(self, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        end = self._content.find(b"\n", self._at, self._at + max_bytes)
        if end < 0:
            self.refuse("a name, number or text has no end")
        return self._take(end + 1 - self._at)[:-1]

    def _written_number(self) -> int | bool:
        """A number in digits; protocols 0 and 1 write bools as 01 and 00."""
        line = self._line(_MAX_NAME_BYTES)
        if line in (b"00", b"01"):
            return line == b"01"
        if not re.fullmatch(rb"-?[0-9]+L?", line):
            self.refuse("a whole number is none")
        return int(line.rstrip(b"L"))

    def _written_float(self) -> float:
        try:
            return float(self._line(_MAX_NAME_BYTES))
        except ValueError:
            self.refuse("a number is none")

    def _quoted(self) -> bytes:
        line = self._line()
        if not _QUOTED.fullmatch(line):
            self.refuse("text in quotes is damaged")
        return codecs.escape_decode(line[1:-1])[0]

    def _escaped(self) -> str:
        try:
            return self._line().decode("raw-unicode-escape")
        except UnicodeDecodeError:
            self.refuse("escaped text is damaged")

    def _take(self, size: int) -> bytes:
        left = len(self._content) - self._at
        if size > left:
            self.refuse(f"{size} bytes are declared where {left} are left")
        self._at += size
        return self._content[self._at - size : self._at]

    def _number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self._take(size), "little", signed=signed)

    def _text(self, size_bytes: int) -> str:
        try:
            return self._take(self._number(size_bytes)).decode()
        except UnicodeDecodeError:
            self.refuse("text is not UTF-8")

    def _mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def pop_to_mark(self) -> list[object]:
        """Take the values above the last mark from the stack."""
        if not self._below:
            self.refuse("a mark is missing")
        values, self._stack = self._stack, self._below.pop()
        return values

    def _push_tuple(self, length: int) -> None:
        values = [self.pop() for _ in range(length)]
        self.push(tuple(reversed(values)))

    def _extend(self, values: list[object]) -> None:
        target = self.pop()
        if not isinstance(target, list):
            self.refuse("something is appended to what is no list")
        target.extend(values)
        self.push(target)

    def _keep(self, place: int) -> None:
        value = self.pop()
        self._memo[place] = value
        self.push(value)

    def _push_kept(self, place: int) -> None:
        if place not in self._memo:
            self.refuse(f"nothing was kept at place {place}")
        self.push(self._memo[place])

    def _check_protocol(self) -> None:
        protocol = self._number(1)
        if protocol > LAST_PROTOCOL:
            self.refuse(f"protocol {protocol} is over {LAST_PROTOCOL}")

    def _check_frame(self) -> None:
        size, left = self._number(8), len(self._content) - self._at
        if size > left:
            self.refuse(f"a frame of {size} bytes is declared where {left} are left")


class _Sign(Enum):
    """What stands for a name in a pickle."""

    BYTES = "makes no bytes"
    ENCODE = "makes bytes of text"
    RECONSTRUCT = "makes an array to be filled"
    FROM_BUFFER = "makes an array of its content"
    SCALAR = "makes a number"
    ARRAY = "the type of arrays"
    DTYPE = "makes a type of elements"


@dataclass
class _ElementType:
    """What the elements of an array are; a pickle tells their byte order last."""

    code: str
    order: str = "|"

    @property
    def kind(self) -> str:
        return self.order + self.code

    @property
    def num_bytes(self) -> int:
        return int(self.code[1:])


_ELEMENTS = frozenset("b1 u1 u2 u4 u8 i1 i2 i4 i8 f4 f8".split())
_SIGNS = {
    ("__builtin__", "bytes"): _Sign.BYTES,
    ("_codecs", "encode"): _Sign.ENCODE,
    ("numpy", "ndarray"): _Sign.ARRAY,
    ("numpy", "dtype"): _Sign.DTYPE,
    ("numpy.core.multiarray", "_reconstruct"): _Sign.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Sign.RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _Sign.FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _Sign.FROM_BUFFER,
    ("numpy.core.multiarray", "scalar"): _Sign.SCALAR,
    ("numpy._core.multiarray", "scalar"): _Sign.SCALAR,
}


class PlainMachine(PickleMachine):
    """Knows the names of bytes, and of NumPy's numbers in one row or one column."""

    def __init__(self, path: Path, content: bytes) -> None:
        super().__init__(path, content)
        # Text that is kept could be made into bytes again and again.
        self._encodable = len(content)
        self.operations |= {
            b"c": self._push_named_in_lines,  # GLOBAL
            b"\x93": self._push_named_by_values,  # STACK_GLOBAL
            b"R": self._call,  # REDUCE
            b"b": self._fill,  # BUILD
        }

    def _push_named_in_lines(self) -> None:
        module = self.line(_MAX_NAME_BYTES)
        self._push_sign(module, self.line(_MAX_NAME_BYTES))

    def _push_named_by_values(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            self.refuse("a name is no text")
        self._push_sign(module, name)

    def _push_sign(self, module: str, name: str) -> None:
        sign = _SIGNS.get((module, name))
        if sign is None:
            full = f"{module[:_MAX_NAME_BYTES]}.{name[:_MAX_NAME_BYTES]}"
            self.refuse(
                f"it names {full!r}, which pickle would import; do not open this file "
                "with pickle"
            )
        self.push(sign)

    def _call(self) -> None:
        arguments, function = self.pop(), self.pop()
        match function, arguments:
            case _Sign.BYTES, ():
                self.push(b"")
            case _Sign.ENCODE, (str() as text, "latin1"):
                self.push(self._encode(text))
            case _Sign.DTYPE, (str() | bytes() as code, *_):
                self._push_element_type(code)
            case _Sign.RECONSTRUCT, (_Sign.ARRAY, _, _):
                self.push(PickledArray())
            case _Sign.FROM_BUFFER, (
                bytes() as content,
                _ElementType() as elements,
                shape,
                order,
            ):
                array = PickledArray()
                self._give(array, content, elements, shape, by_columns=order == "F")
                self.push(array)
            case _Sign.SCALAR, (_ElementType() as elements, bytes() as content) if (
                len(content) == elements.num_bytes
            ):
                self.push(np.frombuffer(content, elements.kind)[0].item())
            case _:
                self.refuse("it describes an array that is not of numbers, or a call")

    def _push_element_type(self, code: str | bytes) -> None:
        text = code if isinstance(code, str) else code.decode("latin1")
        if text not in _ELEMENTS:
            self.refuse("it describes an array that is not of numbers")
        self.push(_ElementType(text))

    def _fill(self) -> None:
        state, target = self.pop(), self.pop()
        match target, state:
            case _ElementType(), (_, "<" | ">" | b"<" | b">" | "|" | b"|" as order, *_):
                target.order = order if isinstance(order, str) else order.decode()
            case PickledArray(), (
                _,
                shape,
                _ElementType() as elements,
                by_columns,
                bytes() as content,
            ):
                self._give(target, content, elements, shape, by_columns is True)
            case _:
                self.refuse("it fills what is no array of numbers")
        self.push(target)

    def _encode(self, text: str) -> bytes:
        self._encodable -= len(text)
        if self._encodable < 0:
            self.refuse("it makes more bytes than the file has")
        try:
            return text.encode("latin1")
        except UnicodeEncodeError:
            self.refuse("bytes are written as text that is not Latin-1")

    def _give(
        self,
        array: PickledArray,
        content: bytes,
        elements: _ElementType,
        shape: object,
        by_columns: bool,
    ) -> None:
        num_elements, rest = divmod(len(content), elements.num_bytes)
        if rest:
            self.refuse(f"{len(content)} bytes are no array of {elements.code}")
        array.shape = self.checked_shape(num_elements, shape)
        array.content = content
        array.kind = elements.kind
        array.by_columns = by_columns

    def checked_shape(self, num_elements: int, shape: object) -> tuple[int, ...]:
        """The shape that an array of so many elements may have, refused otherwise."""
        match shape:
            case (int() as length,) | (int() as length, 1) if length == num_elements:
                return (length,)
        self.refuse(f"an array of {num_elements} elements is no row or column of them")
