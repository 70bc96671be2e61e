"""The one call that puts a preview page beside a run.

Knows addresses, tokens and in which order the parts are made. Does not know what is shown, nor HTTP.
"""

import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from typing_extensions import Self

from diffad_runtime.errors import MissingExtraError
from diffad_runtime.health.endpoint import parse_address
from diffad_runtime.health.logs import event
from diffad_runtime.listening import listen
from diffad_runtime.preview.app import digest_of, make_app, page_files
from diffad_runtime.preview.guard import Guard, check_token, made_up_token
from diffad_runtime.preview.places import Places
from diffad_runtime.preview.server import Server, is_local
from diffad_runtime.preview.settings import About, Settings
from diffad_runtime.preview.sink import PreviewSink
from diffad_runtime.preview.views import Views
from diffad_runtime.sinks.base import Sink
from diffad_runtime.snapshot import Snapshot

_LOG = logging.getLogger(__name__)


class Preview:
    """A page that is served until `close`. Made by `open_preview`. Context manager.

    Attributes:
        url: of the page, as in http://127.0.0.1:8080; without a token.
        sink: belongs among the sinks of the run. Closing it leaves the page open: it shows the last part then.
    """

    def __init__(self, url: str, sink: Sink, server: Server) -> None:
        self.url = url
        self.sink = sink
        self._server = server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving and send all viewers away. Legal in every state, from any thread, and twice; within 2 s."""
        self._server.close()


def open_preview(
    snapshot: Callable[[], Snapshot],
    address: str,
    *,
    token: str | None = None,
    about: About | Mapping[str, Any] | Callable[[], About] | None = None,
    hosts: Sequence[str] = (),
    settings: Settings | None = None,
) -> Preview:
    """Serve a page that shows a run from now on; one log line says where.

    Args:
        snapshot: of the run; called on the page's thread for each view, and only while somebody looks. Must be quick.
        address: HOST:PORT as `health.endpoint.parse_address` takes it: 127.0.0.1 without a host, port 0: any free one.
        token: without which nobody sees anything. Where others than this machine reach the address, and none is given,
            one is made up and stands in the log line.
        about: names of model, station and camera; a function where the model may be exchanged while the page is open.
        hosts: more names of this device, as a proxy or a DNS entry gives it. Its host name, NAME.local, localhost and
            addresses in figures need not be given.
        settings: bounds; None: those of Settings.

    Raises:
        MissingExtraError: starlette or uvicorn is not installed.
        InputError: an address that cannot be used, or a token that is none.
    """
    _check_installed()
    host, port = parse_address(address)
    if token is not None:
        check_token(token)
    settings = settings or Settings()
    ask = about if callable(about) else _always(about)
    pages = page_files()
    sink = PreviewSink(settings)
    views = Views(sink, snapshot, ask, digest_of(pages), settings)
    listening = listen(host, port)
    try:
        port = listening.getsockname()[1]
        made_up = token is None and not is_local(listening)
        token = made_up_token() if made_up else token
        guard = Guard(
            make_app(views, Places(settings.viewers), pages),
            names=_names(host, hosts),
            token=token,
            cookie=f"diffad-preview-{port}",
            door=pages["token.html"],
        )
        # A browser holds up to six connections, and whoever is told that there is no place needs one as well.
        server = Server(guard, listening, most=8 * settings.viewers, closing=views.close)
    except BaseException:
        listening.close()
        raise
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    # Whoever reads the log elsewhere cannot go to 0.0.0.0.
    known = url.replace(url.rpartition(":")[0], f"http://{socket.gethostname()}") if host in {"0.0.0.0", "::"} else url
    where = f"{known}/?token={token} (a token made up for this run)" if made_up else known
    event(_LOG, logging.INFO, "preview", f"preview at {where}", url=url)
    return Preview(url, sink, server)


def _always(about: "About | Mapping[str, Any] | None") -> Callable[[], About]:
    fixed = about if isinstance(about, About) else About(**(about or {}))
    return lambda: fixed


def _names(host: str, more: Sequence[str]) -> set[str]:
    own = socket.gethostname().lower()
    return {host.lower(), own, f"{own.partition('.')[0]}.local", *(name.lower().rstrip(".") for name in more)}


def _check_installed() -> None:
    for package in ("starlette", "uvicorn"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(package, extra="preview", purpose="the preview page") from error
