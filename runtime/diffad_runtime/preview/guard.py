"""Who may come in: only GET, only under a name that this device has, and only with the token where there is one.

Knows HTTP headers, cookies and secrets, as plain ASGI. Does not know what is behind it.

A page of somebody else can send a browser here (DNS rebinding: a name of theirs that leads to this address); the Host
header gives it away. It can read nothing in any case, as no CORS header is ever sent, and show nothing in a frame. The
token comes as /?token=..., by which a browser gets a cookie and an address without it, or as "Authorization: Bearer".
It stands in no log line but the one that tells it.
"""

import asyncio
import hmac
import ipaddress
import re
import secrets
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from diffad_runtime.errors import InputError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

HEADERS: tuple[Header, ...] = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
OPEN_PATHS = frozenset({"/style.css", "/icon.svg"})
"""What the page that asks for the token needs; nothing in them is secret."""

_TOKEN = re.compile(r"[A-Za-z0-9._~-]{8,200}")
_COOKIE_S = 30 * 86400  # a screen on a wall is started again now and then
_WRONG_S = 0.5  # for each guess


def made_up_token() -> str:
    """One that nobody guesses: 128 random bits."""
    return secrets.token_urlsafe(16)


def check_token(token: str) -> str:
    """The token, where it is fit for one.

    Raises:
        InputError: too short, or with signs that an address does not take as they are. Does not repeat it.
    """
    if not _TOKEN.fullmatch(token):
        raise InputError(
            f"the preview's token must be 8 to 200 of the signs A-Z a-z 0-9 . _ ~ -, got one of {len(token)} signs",
            mend="Leave it out, and one is made up and told in the log",
        )
    return token


class Guard:
    """Lets requests through to `app`, or answers them.

    Args:
        app: what is behind.
        names: of this device, lower case, beside localhost and every address in figures.
        token: None: everybody who reaches it may look.
        cookie: its name. Browsers share cookies between the ports of a host, so it should hold the port.
        door: the page that asks for the token, HTML.
    """

    def __init__(self, app: App, *, names: Collection[str], token: str | None, cookie: str, door: bytes) -> None:
        self._app = app
        self._names = frozenset(names) | {"localhost"}
        self._token = None if token is None else token.encode()
        # Not the token itself: whoever finds the cookie on a disk shall not know what others type. The same after a
        # restart, so that a screen on a wall comes back by itself.
        self._pass = hmac.digest(self._token or b"", b"diffad preview", "sha256").hex().encode()
        self._cookie = cookie.encode()
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
            await send(message)

        headers = [(name.lower(), value) for name, value in scope["headers"]]
        if scope["method"] != "GET":
            await answer(send_safely, 405, b"only GET\n", [(b"allow", b"GET")])
        elif not self._knows([value for name, value in headers if name == b"host"]):
            await answer(send_safely, 421, b"this device does not go by that name; use its address in figures\n")
        elif self._token is None or scope["path"] in OPEN_PATHS or self._is_let_in(headers):
            await self._app(scope, receive, send_safely)
        else:
            await self._ask(scope, send_safely)

    def _knows(self, hosts: list[bytes]) -> bool:
        if len(hosts) != 1:
            return False
        host = host_of(hosts[0].decode("latin-1"))
        if host in self._names:
            return True
        try:
            ipaddress.ip_address(host)  # rebinding needs a name
        except ValueError:
            return False
        return True

    def _is_let_in(self, headers: list[Header]) -> bool:
        let_in = False
        for name, value in headers:
            if name == b"authorization" and value[:7].lower() == b"bearer ":
                let_in |= hmac.compare_digest(value[7:].strip(), self._token or b"")
            elif name == b"cookie":
                for one in value.split(b";"):
                    key, _, given = one.strip().partition(b"=")
                    let_in |= key == self._cookie and hmac.compare_digest(given, self._pass)
        return let_in

    async def _ask(self, scope: Scope, send: Send) -> None:
        given = _token_in(scope["query_string"]) if scope["path"] == "/" else None
        if given is not None and hmac.compare_digest(given, self._token or b""):
            cookie = b"%s=%s; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax" % (self._cookie, self._pass, _COOKIE_S)
            await answer(send, 303, b"", [(b"location", b"/"), (b"set-cookie", cookie)])
            return
        if given is not None:
            await asyncio.sleep(_WRONG_S)
        html = scope["path"] == "/"
        body = self._door if html else b"the token is missing or wrong\n"
        await answer(send, 401, body, [(b"www-authenticate", b"Bearer")], html=html)


async def answer(send: Send, status: int, body: bytes, more: Collection[Header] = (), *, html: bool = False) -> None:
    """A whole response."""
    kind = b"text/html; charset=utf-8" if html else b"text/plain; charset=utf-8"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def host_of(header: str) -> str:
    """The name or address in a Host header, without port and brackets, lower case; "" where it is none."""
    header = header.strip().lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    name, colon, port = header.partition(":")
    return name.rstrip(".") if not colon or port.isdecimal() else ""


def _token_in(query: bytes) -> bytes | None:
    try:
        given = parse_qs(query.decode("latin-1"), max_num_fields=8).get("token")
    except ValueError:
        return None
    return None if given is None else given[0].encode("utf-8", "surrogateescape")
