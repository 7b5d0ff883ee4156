"""The stack machine of pickles, without the operations that could run anything.

Memory is bounded by the size of the file: a declared size is compared with what is left
of the file before anything is read, the memo is a dict, the operations are counted, and
no operation copies a value.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from facever.errors import FileError

MAX_OPERATIONS = 2_000_000  # LFW's 12,000 photos take 30,000, as arrays 270,000.
LAST_PROTOCOL = 5

_STOP = b"."


class PickleMachine:
    """Builds bytes, text, whole numbers, bools, None, lists and tuples.

    Args:
        path: Where the pickle is from, for messages.
        content: A pickle of protocol 2 to 5. Text of Python 2 becomes bytes.

    Attributes:
        expected: What such a file holds, for messages.
    """

    expected = "bytes, lists, tuples and bools"

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
            b"a": lambda: self._extend([self.pop()]),  # APPEND
            b"e": lambda: self._extend(self.pop_to_mark()),  # APPENDS
            b")": lambda: self.push(()),  # EMPTY_TUPLE
            b"t": lambda: self.push(tuple(self.pop_to_mark())),  # TUPLE
            b"\x85": lambda: self._push_tuple(1),  # TUPLE1
            b"\x86": lambda: self._push_tuple(2),  # TUPLE2
            b"\x87": lambda: self._push_tuple(3),  # TUPLE3
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
        end = self._content.find(b"\n", self._at, self._at + max_bytes)
        if end < 0:
            self.refuse("a name has no end")
        line = self._take(end + 1 - self._at)[:-1]
        return line.decode("ascii", errors="backslashreplace")

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
