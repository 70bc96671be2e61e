"""The page over real sockets: what is served, who gets a place, clients that are slow or silent, and how it ends."""

import http.client
import logging
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
import pytest

from diffad_runtime import Frame
from diffad_runtime.errors import InputError, MissingExtraError
from diffad_runtime.listening import listen
from diffad_runtime.preview import About, Settings, open_preview
from diffad_runtime.preview import server as server_module
from diffad_runtime.preview.server import Server
from diffad_runtime.result import Result
from diffad_runtime.snapshot import Snapshot

pytest.importorskip("starlette", reason="the preview page needs starlette, the extra [preview]")
pytest.importorskip("uvicorn", reason="the preview page needs uvicorn, the extra [preview]")

Judge = Callable[..., tuple[Frame, Result]]
Snap = Callable[..., Snapshot]
Serve = Callable[..., Any]
GOOD = np.full((48, 64, 3), 128, np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)


def address(client: Any) -> tuple[str, int]:
    host, _, port = client.preview.url.removeprefix("http://").rpartition(":")
    return host.strip("[]"), int(port)


def test_what_is_served(serve: Serve, judge: Judge) -> None:
    client = serve()
    status, headers, page = client.get("/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "server" not in headers
    # all that the page asks for is there, and none of it lies elsewhere
    named = set(re.findall(rb'(?:src|href)="([^"#]+)"', page))
    assert named == {b"icon.svg", b"style.css", b"page.js"}
    for name in ("page.js", "live.js", "style.css", "icon.svg"):
        status, headers, body = client.get(f"/{name}")
        assert status == 200
        assert headers["cache-control"] == "no-store"
        for imported in re.findall(rb'from "\./([a-z]+\.js)"', body):
            assert client.get(f"/{imported.decode()}")[0] == 200
    assert client.get("/page.js")[1]["content-type"] == "text/javascript; charset=utf-8"
    for path in ("/nothing", "/index.html", "/../app.py", "/page/page.js", "//etc/passwd", "/%2e%2e/app.py"):
        assert client.get(path)[0] == 404
    assert client.get("/", "POST")[0] == 405
    assert client.get("/", Host="evil.example")[0] == 421
    client.preview.sink.write(*judge(GOOD, "part 1"))
    words, jpeg, _ = client.view()
    assert words["newest"]["part"] == "part 1"
    assert jpeg
    assert client.get("/view?viewer=x")[0] == 400
    assert client.get("/view")[0] == 400
    assert client.get(f"/reject?key={words['run']}.1")[0] == 404  # it was good
    for key in ("", "x", f"{words['run']}.", f"{words['run']}.-1", f"{words['run']}.²"):
        assert client.get(f"/reject?key={key.encode().hex() if not key.isascii() else key}")[0] == 404


def test_one_viewer_too_many_is_told_so_until_another_leaves(serve: Serve, judge: Judge) -> None:
    client = serve(settings=Settings(viewers=2, rate=50))
    client.preview.sink.write(*judge(GOOD))
    words, *_ = client.view(viewer="a" * 24)
    client.view(viewer="b" * 24)
    status, headers, body = client.get(f"/view?viewer={'c' * 24}")
    assert (status, headers["retry-after"], body) == (503, "5", b"all 2 places are taken\n")
    begun = time.monotonic()
    status, headers, body = client.get("/")
    assert status == 503
    assert b"All places are taken" in body
    assert time.monotonic() - begun < 3
    # the second viewer waits for news, and its page is closed over that
    with socket.create_connection(address(client), timeout=5) as leaving:
        seen = f"{words['run']}.{words['number']}"
        leaving.sendall(f"GET /view?viewer={'b' * 24}&seen={seen} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        time.sleep(0.2)
    assert client.get("/")[0] == 200
    client.view(viewer="c" * 24)


def test_a_failing_snapshot_is_an_answer_and_one_event(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Snapshot:
        raise RuntimeError("no snapshot")

    client = serve(snapshot=broken)
    logging.getLogger("diffad_runtime.preview.app").addHandler(caplog.handler)
    status, headers, body = client.get(f"/view?viewer={'a' * 24}")
    logging.getLogger("diffad_runtime.preview.app").removeHandler(caplog.handler)
    assert (status, body) == (500, b"that could not be made; see the log\n")
    assert headers["x-content-type-options"] == "nosniff"
    assert "/view cannot be made: RuntimeError: no snapshot" in caplog.text
    assert client.get("/")[0] == 200


@pytest.mark.parametrize("given", [None, "chosen-token-1"])
def test_others_need_a_token_that_the_log_tells_once(
    given: str | None, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    # Loggers of this product may be set up, and not pass on, by tests of other rooms.
    names = ("diffad_runtime.preview.opening", "diffad_runtime.preview.app", "uvicorn.error", "uvicorn.access")
    caplog.set_level(logging.DEBUG, "diffad_runtime")
    for name in names:
        logging.getLogger(name).addHandler(caplog.handler)
    try:
        client = serve("0.0.0.0:0", token=given)
        told = [record.getMessage() for record in caplog.records if "preview at" in record.getMessage()]
        found = re.search(r"token=(\S+)", told[-1])
        assert (found is None) == (given is not None)
        token = given or (found.group(1) if found else "")
        assert len(token) >= 8
        assert token not in client.preview.url
        assert token not in repr(client.preview)
        assert client.get("/")[0] == 401
        assert b"asks for a token" in client.get("/")[2]
        assert client.get("/style.css")[0] == 200
        assert client.get("/?token=wrong-token")[0] == 401
        status, headers, _ = client.get(f"/?token={token}")
        assert (status, headers["location"]) == (303, "/")
        cookie = headers["set-cookie"].partition(";")[0]
        assert client.get("/", Cookie=cookie)[0] == 200
        assert client.get("/page.js", Authorization=f"Bearer {token}")[0] == 200
        assert client.get(f"/view?viewer={'a' * 24}&token={token}")[0] == 401
        client.preview.close()
        lines = {id(record): record.getMessage() + str(record.__dict__) for record in caplog.records}
        assert sum(token in line for line in lines.values()) == (given is None)
    finally:
        for name in names:
            logging.getLogger(name).removeHandler(caplog.handler)


def test_a_token_may_be_asked_for_on_this_machine_as_well(serve: Serve) -> None:
    assert serve().get("/")[0] == 200
    assert serve(token="chosen-token-1").get("/")[0] == 401
    assert serve("[::1]:0").get("/")[0] == 200
    assert serve("localhost:0").get("/")[0] == 200
    assert serve("0.0.0.0:0", token="chosen-token-1", hosts=["Press4.Plant"]).get("/", Host="press4.plant:80")[0] == 401


def test_what_cannot_be_opened(serve: Serve, snap: Snap, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve()
    with pytest.raises(InputError, match=r"cannot listen on 127\.0\.0\.1"):
        serve(client.preview.url.removeprefix("http://"))
    with pytest.raises(InputError, match="expected an address HOST:PORT"):
        serve("nowhere")
    with pytest.raises(InputError, match="token must be"):
        serve(token="x y")
    with pytest.raises(InputError, match=r"rate is 0, expected 0\.2 to 60"):
        Settings(rate=0)
    with pytest.raises(InputError, match="viewers is nan"):
        Settings(viewers=float("nan"))  # type: ignore[arg-type]
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=r"diffad-edge\[preview\]"):
        open_preview(snap, "127.0.0.1:0")


def test_about_is_a_dict_an_object_or_a_function(serve: Serve) -> None:
    for about in ({"model_id": "bottle", "version": 3}, About("bottle", 3), lambda: About("bottle", 3)):
        assert serve(about=about).view()[0]["title"] == "bottle"
    assert serve(about=None).view()[0]["title"] == ""


def meet(client: Any, number: int, clients: ExitStack) -> list[socket.socket]:
    return [clients.enter_context(socket.create_connection(address(client), timeout=3)) for _ in range(number)]


@pytest.mark.parametrize("who", ["nobody", "waiting", "silent", "greedy", "unready"])
def test_close_within_two_seconds(who: str, serve: Serve, judge: Judge) -> None:
    before = threading.active_count()
    client = serve()
    place = address(client)
    client.preview.sink.write(*judge(NOISE))
    words, *_ = client.view()
    request = f"GET /view?viewer={'b' * 24}&seen=SEEN HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with ExitStack() as clients:
        met = meet(client, 0 if who == "nobody" else 6, clients)
        for one in met if who == "greedy" else []:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for one in met:
            if who == "waiting":
                one.sendall(request.replace("SEEN", f"{words['run']}.{words['number']}").encode())
            elif who == "greedy":  # asks again and again, reads nothing
                one.sendall(request.replace("SEEN", "").encode() * 20)
            elif who == "unready":
                one.sendall(b"GET / HT")
        time.sleep(0.3)
        begun = time.monotonic()
        closers = [threading.Thread(target=client.preview.close) for _ in range(3)]
        for thread in closers:
            thread.start()
        for thread in closers:
            thread.join(5)
        client.preview.close()
        assert time.monotonic() - begun < 2.0
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(place, timeout=1)
    assert threading.active_count() == before
    client.preview.sink.write(*judge(GOOD))  # a run may go on without its page
    client.preview.sink.close()


def test_closed_as_soon_as_opened(serve: Serve) -> None:
    for _ in range(5):
        begun = time.monotonic()
        serve().preview.close()
        assert time.monotonic() - begun < 1.5


def test_slow_and_silent_clients_are_cut_and_hold_up_nobody(
    serve: Serve, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "CUT_S", 1.0)
    client = serve(settings=Settings(viewers=2, rate=50, longest=1920, quality=95))
    frame, result = judge(NOISE)
    client.preview.sink.write(frame, result)
    with ExitStack() as clients:
        silent = meet(client, 4, clients)
        greedy = meet(client, 4, clients)
        for one in greedy:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.sendall(f"GET /view?viewer={'b' * 24} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() * 50)
        time.sleep(0.2)
        spent = []
        for _ in range(30):
            begun = time.perf_counter()
            client.preview.sink.write(frame, judge(GOOD)[1])
            spent.append(time.perf_counter() - begun)
            time.sleep(0.01)
        assert sorted(spent)[15] < 0.001  # a thread that was not scheduled is no fault of a slow viewer
        begun = time.monotonic()
        client.view()
        assert time.monotonic() - begun < 1.0
        time.sleep(1.3)
        assert all(sent_away(one) for one in silent)
        # What the kernel still holds for the greedy ones is none of the server's business any more.
        assert len(client.preview._server._server.server_state.connections) == 0
        client.view()


def sent_away(client: socket.socket) -> bool:
    client.settimeout(2)
    try:
        while client.recv(1 << 20):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def test_connections_are_bounded(serve: Serve) -> None:
    client = serve(settings=Settings(viewers=1))
    with ExitStack() as clients:
        met = meet(client, 20, clients)
        time.sleep(0.3)
        answered = 0
        for one in met:
            with suppress(OSError):
                one.sendall(b"GET /icon.svg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                answered += one.recv(100).startswith(b"HTTP/1.1 200")
        assert answered == 8
    time.sleep(0.1)
    assert client.get("/")[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\xff\x00 x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /" + b"x" * 100_000,
    ],
)
def test_what_is_no_request(body: bytes, serve: Serve) -> None:
    client = serve()
    with socket.create_connection(address(client), timeout=3) as one:
        with suppress(ConnectionError):
            one.sendall(body)
        with suppress(ConnectionError):
            assert one.recv(12)[9:12] in (b"400", b"421", b"405", b"")
    assert client.get("/")[0] == 200


def test_many_requests_on_one_connection(serve: Serve, judge: Judge) -> None:
    client = serve()
    connection = http.client.HTTPConnection(*address(client), timeout=5)
    client.preview.sink.write(*judge(GOOD))
    for _ in range(20):
        connection.request("GET", f"/view?viewer={'a' * 24}")
        assert connection.getresponse().read()
    connection.close()


def test_an_application_that_breaks_ends_no_server() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
        raise RuntimeError("no")

    listening = listen("127.0.0.1", 0)
    place = listening.getsockname()
    server = Server(broken, listening, most=8, closing=lambda: None)
    try:
        for _ in range(2):
            connection = http.client.HTTPConnection(*place, timeout=5)
            connection.request("GET", "/")
            assert connection.getresponse().status == 500
            connection.close()
    finally:
        server.close()
