"""Which path gives what. Needs starlette, the extra [preview].

Knows paths, and how many viewers there may be. Does not know who is let in (guard.py), nor how views are made.

    /               the page; 503 where all places are taken
    /view           the newest part and the state of the run, as in views.py; ?viewer=NAME&seen=RUN.NUMBER
    /reject         a part of the last rejects; ?key=RUN.NUMBER
    /style.css ...  the page's own files, read once
"""

# ruff: noqa: PLC0415  starlette is an extra

import asyncio
import hashlib
import logging
import re
from importlib.resources import files
from typing import TYPE_CHECKING

from diffad_runtime.health.logs import event
from diffad_runtime.preview.guard import App
from diffad_runtime.preview.places import Places
from diffad_runtime.preview.views import Views

if TYPE_CHECKING:
    from starlette.requests import Request

_LOG = logging.getLogger(__name__)
_VIEWER = re.compile(r"[0-9a-f]{16,64}")
_PATIENCE_S = 1.5  # who loads the page again must first be seen to leave
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def page_files() -> dict[str, bytes]:
    """{"index.html": bytes, ...}."""
    folder = files(__package__) / "page"
    return {
        entry.name: entry.read_bytes() for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if "." + entry.name.rpartition(".")[2] in _KINDS
    }  # fmt: skip


def digest_of(pages: dict[str, bytes]) -> str:
    """Changes with any of the page's files."""
    whole = hashlib.sha256()
    for name, body in pages.items():
        whole.update(f"{name} {len(body)}\n".encode() + body)
    return whole.hexdigest()[:16]


def make_app(views: Views, places: Places, pages: dict[str, bytes]) -> App:
    """An ASGI application that answers GET."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    def static(name: str) -> Route:
        kind = _KINDS["." + name.rpartition(".")[2]]

        async def give(_: "Request") -> Response:
            return Response(pages[name], media_type=kind)

        return Route(f"/{name}", give)

    async def index(_: "Request") -> Response:
        for _attempt in range(round(_PATIENCE_S / 0.1)):
            if places.free > 0:
                return Response(pages["index.html"], media_type=_KINDS[".html"])
            await asyncio.sleep(0.1)
        return Response(pages["full.html"], 503, {"retry-after": "10"}, media_type=_KINDS[".html"])

    async def view(request: "Request") -> Response:
        viewer = request.query_params.get("viewer", "")
        if not _VIEWER.fullmatch(viewer):
            return PlainTextResponse("viewer: 16 to 64 signs of 0-9 a-f\n", 400)
        if not places.take(viewer):
            return PlainTextResponse(f"all {places.most} places are taken\n", 503, {"retry-after": "5"})
        gone = asyncio.create_task(_gone(request))
        asked = asyncio.create_task(views.after(request.query_params.get("seen", "")[:64]))
        try:
            await asyncio.wait({gone, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                places.leave(viewer)
                return Response(status_code=499)  # nobody reads it
            return Response(await asked, media_type="application/octet-stream")
        finally:
            gone.cancel()
            asked.cancel()

    async def reject(request: "Request") -> Response:
        run, _, digits = request.query_params.get("key", "")[:64].partition(".")
        number = int(digits) if run == views.run and digits.isascii() and digits.isdecimal() else -1
        body = views.layers(number)
        if body is None:
            return PlainTextResponse("that part is not kept any more\n", 404)
        return Response(body, media_type="application/octet-stream")

    async def failed(request: "Request", error: Exception) -> Response:
        # Without the request: its query may hold a token.
        what = f"{request.url.path} cannot be made: {type(error).__name__}: {error}"
        event(_LOG, logging.ERROR, "preview_failed", what, path=request.url.path)
        return PlainTextResponse("that could not be made; see the log\n", 500)

    own = [static(name) for name in pages if not name.endswith(".html")]
    routes = [Route("/", index), Route("/view", view), Route("/reject", reject), *own]
    app: App = Starlette(routes=routes, exception_handlers={Exception: failed})
    return app


async def _gone(request: "Request") -> None:
    """Ends when the viewer does."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
