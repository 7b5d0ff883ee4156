"""A connection to a PostgreSQL server, whose refusals come as facever's errors."""

import difflib
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

import psycopg
from psycopg import errors, sql
from psycopg.abc import Buffer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo, TransactionStatus

from facever.errors import FaceverError, FileError, GalleryError, ParameterError
from facever.gallery.addresses import hide_password

# A server that does not answer is given up, and so is a wait for other writers. The
# texts are sent and read as UTF-8, whatever the database and the environment say.
_SETTINGS: dict[str, str | int | None] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "client_encoding": "utf8",
}
_LOCK_SECONDS = 20
# So a writer that hangs does not keep the others waiting for ever.
_IDLE_MINUTES = 10

# Options that say which host is meant, and so are not the readers'.
_OF_ONE_HOST = {"host", "hostaddr", "port", "target_session_attrs"}

FORM = "postgresql://USER@HOST/DATABASE?gallery=NAME"

TAKE_OUT = "take it out with gallery remove and this id"
"""The remedy for an entry that is damaged, and whose id is told."""

Rows = list[tuple[Any, ...]]
Query = sql.Composed | sql.SQL
Answer = TypeVar("Answer")


class Address(NamedTuple):
    """Where a gallery is.

    Attributes:
        place: The URL, for messages; it holds no password.
        server: The URL for the driver, with the database and without the gallery.
        gallery: The gallery's name.
        readers: The URL of the same gallery on the replicas that are searched in the
            server's place; None if there are none.
    """

    place: str
    server: str
    gallery: str
    readers: str | None


def parse_address(url: str) -> Address:
    """The server and the gallery that a URL names.

    Args:
        url: ``postgresql://USER@HOST:PORT/DATABASE?gallery=NAME``, and perhaps
            ``readers=HOST:PORT``, replicas with commas between them, of which the first
            that answers is searched. What else stands behind the question mark, such as
            ``sslmode=verify-full``, or a folder of a socket as ``host=``, is for the
            server's own library, which reads passwords from ``PGPASSWORD`` or a file
            ``.pgpass``.

    Raises:
        ParameterError: If the URL is of another form, holds a password, or has an
            option that there is not.
    """
    wrong = f"a gallery's URL must be {FORM}, got {hide_password(url)!a}"
    try:
        url.encode()
        parts = urlsplit(url)
    except ValueError:
        raise ParameterError(wrong) from None
    options = parse_qs(parts.query, keep_blank_values=True)
    if _may_hold_password(parts, options):
        raise ParameterError(
            "a gallery's URL must hold no password, for URLs are printed and logged; "
            "put it into the environment variable PGPASSWORD or the file ~/.pgpass"
        )
    names = options.pop("gallery", [])
    if not parts.path.strip("/"):
        raise ParameterError(f"{wrong}, which names no database")
    if len(names) != 1 or not names[0].strip():
        raise ParameterError(f"{wrong}, which does not name one gallery")
    if "\0" in unquote(url):
        raise ParameterError(wrong)
    readers = options.pop("readers", None)
    _check_options(options)
    database = quote(unquote(parts.path.strip("/")), safe="")

    def address(hosts: str, options: Mapping[str, list[str]]) -> str:
        others = "&".join(
            f"{quote(key)}={quote(value, safe='')}"
            for key, values in options.items()
            for value in values
        )
        return f"postgresql://{hosts}/{database}" + (others and f"?{others}")

    server = address(parts.netloc, options)
    if readers is None:
        return Address(url, server, names[0], None)
    if len(readers) != 1 or not readers[0].strip():
        raise ParameterError(
            "readers in a gallery's URL must be HOST:PORT, or several with commas "
            f"between them, got {hide_password(url)!a}"
        )
    if "@" in readers[0]:
        raise ParameterError(
            "readers in a gallery's URL must be HOST:PORT, without a user: they are "
            "asked as the same user"
        )
    user = parts.netloc.rpartition("@")[0]
    hosts = (user and f"{user}@") + quote(readers[0], safe=":,[]")
    theirs = {k: v for k, v in options.items() if k not in _OF_ONE_HOST}
    theirs["gallery"] = names
    return Address(url, server, names[0], address(hosts, theirs))


def _check_options(options: Mapping[str, list[str]]) -> None:
    """Refuse an option that neither facever nor the server's own library has."""
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    for name in sorted(options.keys() - known):
        # No URL is shown: a misspelt option may hold a secret. And no password is
        # advised, which would be refused.
        offered = {each for each in known if not _SECRET.search(each)}
        [*close] = difflib.get_close_matches(name, {*offered, "gallery", "readers"}, 1)
        raise ParameterError(
            f"a gallery's URL has no option {name!a}"
            + (f"; did you mean {close[0]}?" if close else "; leave it out")
        )


# Names of libpq's options whose values let somebody in.
_SECRET = re.compile("password|secret|scram_.*_key", re.IGNORECASE)
# Hosts and ports, several with commas between them.
_HOSTS = re.compile(r"(?:(?:\[[^\]]*\]|[^:,\[\]]*)(?::\d*)?(?:,|$))*")


def _may_hold_password(parts: SplitResult, options: Mapping[str, list[str]]) -> bool:
    """Whether a URL has a password, or what one with ``/``, ``?`` or ``#`` leaves."""
    user, _, hosts = parts.netloc.rpartition("@")
    return (
        ":" in unquote(user).rstrip(":")
        or not _HOSTS.fullmatch(hosts)
        or "@" in parts.path + parts.fragment
        or any(_SECRET.search(option) or "@" in option for option in options)
    )


class Server:
    """One connection, for one thread; a lost one is opened again where that is safe.

    Outside of a block every question is a transaction of its own. A question that is
    lost with its connection is asked once more, and so is all that is asked within
    ``once_more_if_lost``; a change never is.

    It keeps nothing in the session from one transaction to the next, and prepares no
    statements: a pooler may give each transaction another connection.
    """

    def __init__(self, address: Address) -> None:
        """Connect.

        Raises:
            FileError: If no server answers, or it refuses.
        """
        self.address = address
        self._is_within = False
        self._is_closed = False
        self._num_begun = 0
        self._connection = self._connect()

    def close(self) -> None:
        """Close the connection for good."""
        self._is_closed = True
        self._connection.close()

    def check_open(self) -> None:
        """Refuse to go on once it was closed for good.

        Raises:
            GalleryError: If it was.
        """
        if self._is_closed:
            raise GalleryError(
                f"{self.address.place}: this gallery was closed; open it again"
            )

    def once_more_if_lost(self, ask: Callable[[], Answer]) -> Answer:
        """What a function gives that asks any number of questions and changes nothing.

        It is called again, once, if the connection is lost in its midst, or if the
        server ends a question in favour of others, as a replica does.
        """
        if self._is_within:
            return ask()
        begun = self._num_begun
        try:
            return ask()
        except FaceverError as error:
            # A server that cannot be reached was tried twice by then.
            if self._num_begun == begun or not _may_pass(error.__cause__):
                raise
        return ask()

    def ask(self, query: Query, values: Sequence[Any] = ()) -> Rows:
        """The rows that answer a question, with numbers and bytes as they are."""

        def rows() -> Rows:
            # Binary, so that embeddings come as bytes and keep every bit.
            with self._connection.cursor(binary=True) as cursor:
                cursor.execute(query, values)
                return cursor.fetchall() if cursor.description else []

        with self.as_facever_errors():
            return self._again_if_lost(rows)

    def do(self, query: Query, values: Sequence[Any] = ()) -> None:
        """Change something, within ``writing``."""
        assert self._is_within
        with self.as_facever_errors():
            self._connection.execute(query, values)

    def copy(self, query: Query, content: Iterator[bytes]) -> None:
        """Send rows for a ``COPY``, within ``writing``."""
        assert self._is_within
        with (
            self.as_facever_errors(),
            self._connection.cursor() as cursor,
            cursor.copy(query) as copy,
        ):
            for block in content:
                copy.write(block)

    def copy_out(
        self, query: Query, values: Sequence[Any]
    ) -> Generator[Buffer, None, None]:
        """What a ``COPY`` sends, piece by piece, within ``reading`` or ``writing``."""
        assert self._is_within
        with (
            self.as_facever_errors(),
            self._connection.cursor() as cursor,
            cursor.copy(query, values) as copy,
        ):
            yield from copy

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See one state in all questions of the block, whoever writes meanwhile."""
        if self._is_within:
            yield
            return
        with self._transaction("ISOLATION LEVEL REPEATABLE READ READ ONLY"):
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Make all changes of the block when it ends, or none.

        Raises:
            FileError: If the connection is lost: before the end nothing was changed, at
                the very end that is not known, and the message says so.
        """
        if self._is_within:
            yield
            return
        with self._transaction("READ WRITE"):
            self.do(
                sql.SQL(
                    f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'; SET LOCAL "
                    f"idle_in_transaction_session_timeout = '{_IDLE_MINUTES}min'"
                )
            )
            yield

    def stream(
        self, query: Query, values: Sequence[Any], rows_a_block: int
    ) -> Iterator[Rows]:
        """The rows that answer a question, block by block, within ``reading``."""
        assert self._is_within
        with (
            self.as_facever_errors(),
            self._connection.cursor("read", binary=True) as cursor,
        ):
            cursor.execute(query, values)
            while rows := cursor.fetchmany(rows_a_block):
                yield rows

    @contextmanager
    def as_facever_errors(self) -> Iterator[None]:
        """Turn the driver's errors within the block into ours, each of one line.

        Raises:
            FileError: If the server is lost, refuses, is full or takes no changes.
            GalleryError: If others keep on writing.
        """
        try:
            yield
        except psycopg.Error as error:
            raise self._explained(error) from error

    def damaged(self, reason: str, remedy: str = "") -> FileError:
        """The error to raise for content that no gallery would have written.

        Args:
            reason: What is wrong.
            remedy: What helps, beside a backup or a new gallery.
        """
        return FileError(
            f"{self.address.place}: the gallery is damaged ({reason}); this changed "
            f"nothing; {remedy}{', ' if remedy else ''}restore it from a backup or "
            "enroll the photos into a new gallery"
        )

    def _connect(self) -> "psycopg.Connection[Any]":
        with self.as_facever_errors():
            settings = _SETTINGS | conninfo_to_dict(self.address.server)
            return psycopg.connect(
                make_conninfo("", **settings),
                autocommit=True,
                application_name="facever",
                # A pooler between us and the server may give every transaction another
                # connection, which has not heard of statements prepared before.
                prepare_threshold=None,
            )

    def _again_if_lost(self, ask: Callable[[], Answer]) -> Answer:
        self.check_open()
        try:
            if self._connection.closed and not self._is_within:
                self._connection = self._connect()
            return ask()
        except psycopg.OperationalError:
            if self._is_within or not self._connection.broken:
                raise
            self._connection = self._connect()
            return ask()

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        try:
            with self.as_facever_errors():
                # Nothing has been done yet, so that a lost connection does no harm.
                self._again_if_lost(
                    lambda: self._connection.execute(f"BEGIN TRANSACTION {kind}")
                )
            self._is_within = True
            self._num_begun += 1
            yield
            self._commit(kind)
        finally:
            self._is_within = False
            self._roll_back()

    def _roll_back(self) -> None:
        """Leave no transaction open, by whatever error, or Ctrl-C, it was left."""
        # A lost connection takes its transaction with it.
        status = self._connection.info.transaction_status
        if not self._connection.closed and status is not TransactionStatus.IDLE:
            try:
                self._connection.execute("ROLLBACK")
            except psycopg.Error:
                self._connection.close()

    def _commit(self, kind: str) -> None:
        try:
            self._connection.execute("COMMIT")
        except psycopg.OperationalError as error:
            if kind == "READ WRITE" and self._connection.broken:
                raise FileError(
                    f"{self.address.place}: the server was lost just as a change was "
                    "to be kept, and did not say whether it was; look before you make "
                    "it again (adding the same photos again is safe)"
                ) from error
            raise self._explained(error) from error
        except psycopg.Error as error:
            raise self._explained(error) from error

    def _explained(self, error: psycopg.Error) -> FaceverError:
        place = self.address.place
        said = " ".join(str(error).split()) or type(error).__name__
        for kind, make, reason in _REASONS:
            if isinstance(error, kind):
                return make(f"{place}: {reason} ({said})")
        if error.sqlstate is None and _WRONG_VALUE.search(said):
            return ParameterError(
                f"{place}: an option of the address, or of a variable such as "
                f"PGSSLMODE, has a value that it cannot have ({said})"
            )
        if error.sqlstate is None and "failed to resolve host" in said:
            return FileError(
                f"{place}: the server's host was not found ({said}); check its name in "
                "the address, and this machine's network"
            )
        if _is_lost(error):
            # An error of connecting has no code to go by.
            if "FATAL" in said or "password" in said:
                return FileError(
                    f"{place}: the server refuses the connection ({said}); check the "
                    "address's database and user, and the password in PGPASSWORD or "
                    "~/.pgpass"
                )
            return FileError(
                f"{place}: the server does not answer, or not any more ({said}); "
                "this changed nothing; start it, or check the address"
            )
        return FileError(f"{place}: the server refuses this ({said})")


# What the driver says of an option before it has connected.
_WRONG_VALUE = re.compile(r"invalid .*\b(?:value|port number)\b|bad value for")
# Of connections, of servers that are shut down or crashed, and of one whose parallel
# workers have ended, as they do when the server is killed.
_LOST = ("08", "57P", "55000")
# Of two that wait for each other, and of a replica that has to catch up.
_IN_FAVOUR_OF_OTHERS = (errors.DeadlockDetected, errors.SerializationFailure)


def _is_lost(error: BaseException | None) -> bool:
    # Of errors that are not the server's but the driver's own, the second is of answers
    # that it did not expect, such as PgBouncer's when the server has just gone.
    return isinstance(error, psycopg.OperationalError | psycopg.InternalError) and (
        error.sqlstate is None or error.sqlstate.startswith(_LOST)
    )


def _may_pass(error: BaseException | None) -> bool:
    return _is_lost(error) or isinstance(error, _IN_FAVOUR_OF_OTHERS)


_Kinds = type[psycopg.Error] | tuple[type[psycopg.Error], ...]
_Reasons = tuple[tuple[_Kinds, Callable[[str], FaceverError], str], ...]
_REASONS: _Reasons = (
    (
        errors.InsufficientPrivilege,
        FileError,
        "the user lacks a right, which the manual's page on galleries lists",
    ),
    (
        # A replica says the second when a change begins.
        (errors.ReadOnlySqlTransaction, errors.FeatureNotSupported),
        FileError,
        "the server takes no changes, as a replica does; name the server that does",
    ),
    (errors.DiskFull, FileError, "the server's disk is full; this changed nothing"),
    (errors.OutOfMemory, FileError, "the server has no memory left"),
    (
        errors.LockNotAvailable,
        GalleryError,
        "others keep on writing, or on reading what this would replace; this changed "
        "nothing; try again",
    ),
    (
        _IN_FAVOUR_OF_OTHERS,
        GalleryError,
        "the server ended this in favour of others; this changed nothing; try again",
    ),
    (
        errors.QueryCanceled,
        FileError,
        "the server ended this by a limit of its own, such as statement_timeout; "
        "this changed nothing",
    ),
    (
        errors.IdleInTransactionSessionTimeout,
        FileError,
        "the server gave up waiting in the midst of this; this changed nothing",
    ),
    (
        errors.ProgramLimitExceeded,
        ParameterError,
        "a name and a source are longer together than an index can hold, some 2,700 "
        "bytes",
    ),
    (
        errors.DataException,
        FileError,
        "the gallery is damaged, its embeddings are not of one size; restore it from a "
        "backup or enroll the photos into a new gallery",
    ),
    (
        psycopg.DataError,
        ParameterError,
        "a text holds what PostgreSQL cannot keep, such as the character NUL",
    ),
)


def literal(values: Mapping[str, str | int], template: str) -> Query:
    """SQL with names of tables, whole numbers and nothing that a user says."""
    return sql.SQL(template).format(
        **{
            key: sql.Literal(value)
            if isinstance(value, int)
            else sql.Identifier("facever", value)
            for key, value in values.items()
        }
    )
