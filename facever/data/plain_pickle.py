"""Read a pickle of plain values without pickle: nothing that it names is ever run.

A pickle is a program for a stack machine, and ``pickle`` lets that program import and
call anything. The machine here knows only what bytes, lists, tuples and bools need. Of
names it knows the few with which NumPy writes an array of bytes and Python 3 writes
bytes in protocol 2: they are signs that are compared here, never imported. Everything
else ends the reading.
"""

import os
from enum import Enum
from pathlib import Path

from facever.data.pickle_machine import PickleMachine
from facever.errors import FileError

MAX_FILE_BYTES = 1 << 30

_BEGINNING = b"\x80"
_MAX_NAME_BYTES = 100


class ByteArray:
    """A NumPy array of uint8, as its bytes.

    Attributes:
        content: The bytes; None if the pickle never filled the array.
        shape: Whatever the machine that read it allows.
        by_columns: Whether the first index runs fastest, as in Fortran.
    """

    def __init__(self) -> None:
        self.content: bytes | None = None
        self.shape: tuple[int, ...] = ()
        self.by_columns = False


def read_plain_pickle(path: Path) -> object:
    """Read a pickle of bytes, lists, tuples and bools, of protocol 2 to 5.

    Text of Python 2 is taken as bytes. Lists are shared where the pickle shares them,
    and a hostile one can hold itself: look at the type of a value before comparing or
    printing it.

    Args:
        path: The file.

    Returns:
        The value. Beside the four types it may hold ``ByteArray``, and text, numbers,
        None and signs, which describe arrays.

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
    if not content.startswith(_BEGINNING):
        raise FileError(
            f"{path} is no pickle of protocol 2 or later; write it again with pickle's "
            "highest protocol"
        )
    return PlainMachine(path, content).run()


class _Sign(Enum):
    """What stands for a name in a pickle."""

    BYTES = "makes no bytes"
    ENCODE = "makes bytes of text"
    RECONSTRUCT = "makes an array to be filled"
    FROM_BUFFER = "makes an array of its content"
    ARRAY = "the type of arrays"
    DTYPE = "makes a type of elements"
    UINT8 = "the type of bytes"


_SIGNS = {
    ("__builtin__", "bytes"): _Sign.BYTES,
    ("_codecs", "encode"): _Sign.ENCODE,
    ("numpy", "ndarray"): _Sign.ARRAY,
    ("numpy", "dtype"): _Sign.DTYPE,
    ("numpy.core.multiarray", "_reconstruct"): _Sign.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Sign.RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _Sign.FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _Sign.FROM_BUFFER,
}


class PlainMachine(PickleMachine):
    """Knows the names of bytes and of arrays of uint8 in one row or one column."""

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
            case _Sign.DTYPE, ("u1" | b"u1", *_):
                self.push(_Sign.UINT8)
            case _Sign.RECONSTRUCT, (_Sign.ARRAY, _, _):
                self.push(ByteArray())
            case _Sign.FROM_BUFFER, (bytes() as content, _Sign.UINT8, shape, order):
                array = ByteArray()
                self._give(array, content, shape, by_columns=order == "F")
                self.push(array)
            case _:
                self.refuse("it describes an array that is not of uint8, or a call")

    def _fill(self) -> None:
        state, target = self.pop(), self.pop()
        match target, state:
            case _Sign.UINT8, _:
                pass  # The byte order, which single bytes do not have.
            case ByteArray(), (_, shape, _Sign.UINT8, by_columns, bytes() as content):
                self._give(target, content, shape, by_columns=by_columns is True)
            case _:
                self.refuse("it fills what is no array of uint8")
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
        self, array: ByteArray, content: bytes, shape: object, by_columns: bool
    ) -> None:
        array.shape = self.checked_shape(content, shape)
        array.content = content
        array.by_columns = by_columns

    def checked_shape(self, content: bytes, shape: object) -> tuple[int, ...]:
        """The shape that an array of these bytes may have, refused otherwise."""
        match shape:
            case (int() as length,) | (int() as length, 1) if length == len(content):
                return (length,)
        self.refuse(f"an array of {len(content)} bytes is no row or column of them")
