"""The small server: addresses, requests of all kinds, clients that are slow, many, or hostile."""

import http.client
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffad_runtime.errors import InputError
from diffad_runtime.health.endpoint import Endpoint, Page, parse_address


def _broken() -> Page:
    raise RuntimeError("no")


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    big = Page(b"x" * 5_000_000, "text/plain")
    pages = {"/a": lambda: Page(b"here\n", "text/plain"), "/big": lambda: big, "/broken": _broken}
    with Endpoint("127.0.0.1:0", pages, client_s=0.6) as served:
        yield served


def get(endpoint: Endpoint, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=5)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9109", ("127.0.0.1", 9109)),
        ("9109", ("127.0.0.1", 9109)),
        (":9109", ("127.0.0.1", 9109)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "localhost", "a:b", "a:65536", "a:-1", "::1:80", "a:²", "a:99999999999", "[a]:1x"]
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="expected an address HOST:PORT"):
        parse_address(text)


def test_an_address_that_cannot_be_bound(endpoint: Endpoint) -> None:
    for address in (f"127.0.0.1:{endpoint.port}", "192.0.2.1:0", "x" * 300 + ":1"):
        with pytest.raises(InputError, match="cannot listen on"):
            Endpoint(address, {})


def test_pages(endpoint: Endpoint) -> None:
    assert get(endpoint, "/a") == (200, b"here\n")
    assert get(endpoint, "/a?x=1") == (200, b"here\n")
    assert get(endpoint, "/a", "HEAD") == (200, b"")
    assert get(endpoint, "/a", "POST")[0] == 405
    assert get(endpoint, "/b") == (404, b"try /a /big /broken\n")
    assert get(endpoint, "/broken")[0] == 500
    assert get(endpoint, "/big") == (200, b"x" * 5_000_000)


def raw(endpoint: Endpoint, body: bytes) -> bytes:
    with socket.create_connection((endpoint.host, endpoint.port), timeout=5) as client:
        client.sendall(body)
        answer = b""
        try:
            while part := client.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
        return answer


def test_what_is_no_request(endpoint: Endpoint) -> None:
    for body in (
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /a HTTP/2\r\n\r\n",
        b"GET a HTTP/1.1\r\n\r\n",
        b"\xff\x00 x\r\n\r\n",
    ):
        assert raw(endpoint, body).startswith(b"HTTP/1.1 400 "), body
    begun = time.monotonic()
    assert raw(endpoint, b"GET /a HTTP/1.1\r\nX: " + b"y" * 10_000) == b""  # too long: sent away without a word,
    assert time.monotonic() - begun < 0.4  # and not only when his time is over
    assert raw(endpoint, b"") == b""
    assert get(endpoint, "/a")[0] == 200


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_leave_it_serving(endpoint: Endpoint, body: bytes) -> None:
    answer = raw(endpoint, body + b"\r\n\r\n")
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")


def meet(endpoint: Endpoint, number: int, clients: ExitStack) -> list[socket.socket]:
    return [
        clients.enter_context(socket.create_connection((endpoint.host, endpoint.port), timeout=2))
        for _ in range(number)
    ]


def sent_away(client: socket.socket) -> bool:
    try:
        return client.recv(10) == b""
    except ConnectionResetError:
        return True


def test_slow_and_silent_clients_hold_up_nobody(endpoint: Endpoint) -> None:
    """40 that say nothing, say a part, or take nothing of a large answer: others are served meanwhile, and they go."""
    with ExitStack() as clients:
        silent = meet(endpoint, 14, clients)
        threads_before = threading.active_count()
        (greedy,) = meet(endpoint, 1, clients)
        greedy.sendall(b"GET /big HTTP/1.1\r\n\r\n")
        begun = time.monotonic()
        for _ in range(5):
            assert get(endpoint, "/a") == (200, b"here\n")
        assert time.monotonic() - begun < 0.5
        more = meet(endpoint, 26, clients)
        for client in more:
            with suppress(ConnectionError):  # sent away by those who came later
                client.sendall(b"GET /a HT")
        assert get(endpoint, "/a") == (200, b"here\n")
        assert threading.active_count() == threads_before
        time.sleep(1.0)
        assert len(endpoint._clients) == 0
        assert all(sent_away(client) for client in (*silent, *more))


def test_clients_at_a_time_are_bounded(endpoint: Endpoint) -> None:
    """The oldest goes when one more comes, long before its time is over."""
    with ExitStack() as clients:
        (first,) = meet(endpoint, 1, clients)
        time.sleep(0.05)
        rest = meet(endpoint, 16, clients)
        first.settimeout(0.3)
        assert sent_away(first)
        assert len(endpoint._clients) == 16
        rest[-1].sendall(b"GET /a HTTP/1.1\r\n\r\n")
        assert rest[-1].recv(15) == b"HTTP/1.1 200 OK"


def test_close_in_every_state() -> None:
    endpoint = Endpoint("127.0.0.1:0", {})
    client = socket.create_connection((endpoint.host, endpoint.port))
    begun = time.monotonic()
    closers = [threading.Thread(target=endpoint.close) for _ in range(3)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join()
    endpoint.close()
    assert time.monotonic() - begun < 2
    assert not any(thread.name == "endpoint" for thread in threading.enumerate())
    client.settimeout(2)
    assert sent_away(client)
    client.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((endpoint.host, endpoint.port))
    # The port is free at once.
    Endpoint(f"127.0.0.1:{endpoint.port}", {}).close()
    # Closed before its thread came to anything.
    for _ in range(20):
        Endpoint("127.0.0.1:0", {}).close()


def test_without_file_descriptors_it_waits_instead_of_spinning(endpoint: Endpoint) -> None:
    """The process has used up its descriptors; a client knocks. Served once there is one again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as client:
        client.settimeout(5)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            client.connect((endpoint.host, endpoint.port))
            client.sendall(b"GET /a HTTP/1.1\r\n\r\n")
            begun = time.process_time()
            time.sleep(0.4)
            assert time.process_time() - begun < 0.1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert client.recv(15) == b"HTTP/1.1 200 OK"


def test_a_page_may_close_it() -> None:
    """close() on the server's own thread does not wait for itself."""
    held: list[Endpoint] = []
    held.append(Endpoint("127.0.0.1:0", {"/close": lambda: held[0].close() or Page(b"", "text/plain")}))
    raw(held[0], b"GET /close HTTP/1.1\r\n\r\n")
    held[0].close()
    assert not held[0]._thread.is_alive()


def test_ipv6() -> None:
    try:
        endpoint = Endpoint("[::1]:0", {"/a": lambda: Page(b"", "text/plain")})
    except InputError:
        pytest.skip("no IPv6 here")
    with endpoint:
        assert endpoint.url == f"http://[::1]:{endpoint.port}"
        assert get(endpoint, "/a")[0] == 200
