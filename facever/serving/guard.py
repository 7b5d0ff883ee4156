"""Who may ask the server, and how much may be sent: seen before anything is read.

A server that listens to this machine alone is still reached by every page that its
user's browser opens. Such a page cannot read the answers, but it can send a form, and
by DNS rebinding it can pose as this server's own: it gives its own name an address of
this machine. So without a token the name in ``Host`` must be one of this machine's, and
a browser must say that a request comes from this server's own page. A token, which no
other page knows, does instead of both.
"""

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facever.serving.uploads import MAX_BYTES, too_many_bytes

API = "/api/"
# Two photos, and what a multipart form adds to them.
MAX_BODY_BYTES = 2 * MAX_BYTES + 64_000

_READING = ("GET", "HEAD")
# Sec-Fetch-Site of a request that no other page's script or form has sent.
_OWN_SITES = ("same-origin", "none")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::[0-9]*)?")
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        token: A bearer's token that requests must send; None serves this machine alone.
        hosts: Names of this server, without a port; they are checked if there is no
            token.
    """

    token: str | None
    hosts: Sequence[str]


@dataclass(frozen=True)
class _Refusal:
    status: int
    reason: str
    close: bool = False


class Guard:
    """Lets through what may be asked, and no more of it than is taken."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, _Counted(receive), send_guarded)
        else:
            await _refuse(refusal, send_guarded)

    def _refusal(self, scope: Scope) -> _Refusal | None:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        if length and "transfer-encoding" in headers:
            # Servers in front of this one may take the other one for its length.
            return _Refusal(
                400, "send either Content-Length or Transfer-Encoding", close=True
            )
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            return _Refusal(413, str(too_many_bytes()))
        if self._access.token is None:
            return self._refusal_of_strangers(scope["method"], headers)
        # The page itself holds nothing of the gallery, and asks for the token.
        if scope["path"].startswith(API):
            return self._refusal_by_token(self._access.token, headers)
        return None

    def _refusal_of_strangers(self, method: str, headers: Headers) -> _Refusal | None:
        host = headers.get("host", "")
        if _host_name(host) not in self._access.hosts:
            return _Refusal(
                403,
                f"this server does not go by the name {host!a}: open the address that "
                "it printed",
            )
        site = headers.get("sec-fetch-site", "none")
        origin = headers.get("origin")
        # Programs that are not browsers send neither header.
        is_own = site in _OWN_SITES and (
            origin is None or origin.partition("://")[2] == host
        )
        if method not in _READING and not is_own:
            return _Refusal(403, "another web page has sent this; use the page here")
        return None

    def _refusal_by_token(self, token: str, headers: Headers) -> _Refusal | None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # This takes the same time whichever letter is the first wrong one.
        if scheme.lower() == "bearer" and secrets.compare_digest(
            given.strip().encode(), token.encode()
        ):
            return None
        return _Refusal(
            401, "send the token that the server printed: Authorization: Bearer TOKEN"
        )


class _Counted:
    """What a client sends, up to the limit: a length may be missing from the header."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._num_bytes = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._num_bytes += len(message.get("body", b""))
        if self._num_bytes > MAX_BODY_BYTES:
            raise HTTPException(413, str(too_many_bytes()))
        return message


def _host_name(host: str) -> str:
    """A Host header without its port, in small letters; empty if it is not one."""
    found = _HOST.fullmatch(host.lower())
    return found[1] if found else ""


async def _refuse(refusal: _Refusal, send: Send) -> None:
    body = json.dumps({"error": refusal.reason}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if refusal.close:
        headers.append((b"connection", b"close"))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    start = {"type": "http.response.start", "status": refusal.status}
    await send(start | {"headers": headers})
    await send({"type": "http.response.body", "body": body})
