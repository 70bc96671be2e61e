"""Who is let in: methods, names of the host, tokens. The guard alone, without sockets."""

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.errors import InputError
from diffad_runtime.preview.guard import Guard, answer, check_token, host_of, made_up_token

TOKEN = "correct-horse-1"


async def inside(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
    await answer(send, 200, b"inside")


def guarded(token: str | None = None) -> Guard:
    return Guard(
        inside, names={"press4", "press4.local"}, token=token, cookie="diffad-preview-80", door=b"<p>token?</p>"
    )


def ask(
    guard: Guard, path: str = "/", headers: dict[str, str] | None = None, query: str = "", method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    given_headers = {"host": "127.0.0.1:80", **(headers or {})}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given_headers.items() if value],
    }
    asyncio.run(guard(scope, receive, send))
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], told, sent[1]["body"]


def test_every_answer_has_the_headers() -> None:
    answers = [
        ask(guarded()),
        ask(guarded(), method="POST"),
        ask(guarded(), headers={"host": "evil.example"}),
        ask(guarded(TOKEN)),
        ask(guarded(TOKEN), "/view"),
        ask(guarded(TOKEN), query=f"token={TOKEN}"),
    ]
    assert [status for status, *_ in answers] == [200, 405, 421, 401, 401, 303]
    for _, headers, _ in answers:
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "*" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", "X"])
def test_only_get(method: str) -> None:
    status, headers, _ = ask(guarded(), method=method)
    assert (status, headers["allow"]) == (405, "GET")


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1:9000", "[::1]:80", "[::1]", "10.1.2.3:80", "localhost", "LOCALHOST:1", "Press4:80"),
        *("press4.local.", "press4."),
    ],
)
def test_names_that_are_ours(host: str) -> None:
    assert ask(guarded(), headers={"host": host})[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "",
            "evil.example",
            "evil.example:80",
            "press4.evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
        ),
        *("127.0.0.1@evil.example", "127.0.0.1:evil", "[::1", "::1:80:x", "x" * 5000, "é", "1.2.3"),
    ],
)
def test_names_that_are_not(host: str) -> None:
    status, _, body = ask(guarded(), headers={"host": host})
    assert status == 421 or (status == 200 and host == "[::1")  # an address in figures, whatever is missing behind it
    assert b"evil" not in body


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_host_is_a_host_or_none(header: str) -> None:
    host = host_of(header)
    assert host == host.strip().lower() or header.strip().startswith("[")
    assert len(host) <= len(header.strip().lower())


def test_a_token_gives_a_cookie_and_an_address_without_it() -> None:
    guard = guarded(TOKEN)
    status, headers, body = ask(guard, query=f"token={TOKEN}&x=1")
    assert (status, headers["location"], body) == (303, "/", b"")
    cookie = headers["set-cookie"]
    assert cookie.startswith("diffad-preview-80=")
    assert cookie.endswith("Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax")
    assert TOKEN not in cookie
    pair = cookie.partition(";")[0]
    assert ask(guard, "/view", {"cookie": f"a=b; {pair} ; c"})[0] == 200
    assert ask(guarded(TOKEN), "/view", {"cookie": pair})[0] == 200  # after a restart as well
    assert ask(guarded(TOKEN + "2"), "/view", {"cookie": pair})[0] == 401  # but not with another token
    assert ask(guard, "/view", {"cookie": pair.replace("-80", "-81")})[0] == 401


def test_a_token_in_a_header() -> None:
    guard = guarded(TOKEN)
    assert ask(guard, "/view", {"authorization": f"Bearer {TOKEN}"})[0] == 200
    assert ask(guard, "/view", {"authorization": f"bearer  {TOKEN} "})[0] == 200
    for wrong in (f"Basic {TOKEN}", "Bearer", "Bearer x", TOKEN, "Bearer é", f"Bearer {TOKEN}x"):
        assert ask(guard, "/view", {"authorization": wrong})[0] == 401


@pytest.mark.parametrize("query", ["token=", "token=wrong-token", "token=%C3%A9", "token=%ED%B2%80", "token=a&token=b"])
def test_wrong_tokens_wait_and_get_the_door(query: str) -> None:
    begun = time.monotonic()
    status, headers, body = ask(guarded(TOKEN), query=query)
    assert (status, body) == (401, b"<p>token?</p>")
    assert headers["content-type"].startswith("text/html")
    assert "set-cookie" not in headers
    assert query == "token=" or time.monotonic() - begun > 0.4


def test_a_query_that_floods_is_no_token() -> None:
    assert ask(guarded(TOKEN), query="&".join(["token=x"] * 1000))[0] == 401


def test_only_what_the_door_needs_is_open() -> None:
    opened = [
        path
        for path in ("/style.css", "/icon.svg", "/page.js", "/view", "/reject", "/x")
        if ask(guarded(TOKEN), path)[0] == 200
    ]
    assert opened == ["/style.css", "/icon.svg"]


@settings(deadline=None)
@given(st.binary(max_size=40), st.sampled_from(["cookie", "authorization"]))
def test_no_bytes_are_a_way_in(value: bytes, name: str) -> None:
    assert ask(guarded(TOKEN), "/view", {name: value.decode("latin-1")})[0] == 401


def test_tokens() -> None:
    assert len({made_up_token() for _ in range(100)}) == 100
    assert check_token(made_up_token())
    for wrong in ("", "short", "with space", "a&b=cdefgh", "é" * 10, "x" * 201):
        with pytest.raises(InputError, match="token must be 8 to 200") as raised:
            check_token(wrong)
        assert not wrong or f"'{wrong}'" not in str(raised.value)
