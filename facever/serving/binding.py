"""Where the server listens, and by which names it goes."""

import ipaddress
import secrets
import socket

from facever.errors import ParameterError
from facever.serving.guard import Access

_SHORTEST_TOKEN = 16
_MACHINES_OWN = ("localhost", "127.0.0.1", "[::1]")


def is_loopback(host: str) -> bool:
    """Whether a server that is bound to ``host`` is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def choose_access(host: str, token: str | None) -> Access:
    """Who may ask a server that is bound to ``host``.

    Args:
        host: The address; any but loopback needs a token.
        token: The token; None: one is made up if one is needed.

    Raises:
        ParameterError: If the token is too short, or cannot be sent in a header.
    """
    if token is None:
        token = None if is_loopback(host) else secrets.token_urlsafe(24)
    elif len(token) < _SHORTEST_TOKEN or not (token.isascii() and token.isprintable()):
        raise ParameterError(
            f"a token must be {_SHORTEST_TOKEN} letters or more, all of ASCII, got "
            f"{len(token)}; leave it out and one is made up"
        )
    return Access(token, (*_MACHINES_OWN, in_address(host).lower()))


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: A name or address of this machine.
        port: The port, in [0, 65535]; 0 for any that is free.

    Raises:
        ParameterError: If the port is taken or the host is not this machine's.
    """
    if not 0 <= port <= 65535:
        raise ParameterError(f"port must be in [0, 65535], got {port}")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family)
        # Connections take it over. Else the end of an answer waits until its beginning
        # is acknowledged, which clients delay by 40 ms; asyncio sees to that only where
        # a socket names its protocol.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ParameterError(
            f"cannot listen at {in_address(host)}:{port} ({reason}); "
            "name another --port, 0 for any that is free, or another --host"
        ) from None


def page_address(host: str, port: int, token: str | None) -> str:
    """The address to open in a browser; no browser sends the token behind the #."""
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    secret = "" if token is None else f"#token={token}"
    return f"http://{in_address(host)}:{port}/{secret}"


def in_address(host: str) -> str:
    """A host as it stands in an address: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host
