"""A page that shows a run while it goes on. Needs starlette and uvicorn, the extra [preview].

    opening     open_preview: the one call from outside
    settings    how often, how large, how many, and who the page is about
    sink        takes frames and results, keeps the newest, encodes nothing
    layers      picture, anomaly map and outlines at the size of a page
    rejects     the last parts that were NG or ERROR
    telling     words and figures of the page, from snapshot and results
    views       what all viewers see: made once for all of them, at a bounded rate, and only where somebody asks
    places      how many viewers there are, and whose place is free again
    guard       who may come in: method, name of the host, token
    app         which path gives what
    server      uvicorn on a thread of its own, and how it ends
    page/       HTML, CSS and ES modules, as they go to the browser

Nothing here judges a part or writes to a disk.
"""

from diffad_runtime.preview.opening import Preview, open_preview
from diffad_runtime.preview.settings import About, Settings

__all__ = ["About", "Preview", "Settings", "open_preview"]
