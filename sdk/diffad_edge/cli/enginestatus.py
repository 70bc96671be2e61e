"""`diffad-edge status`: what this device keeps for its bundles.

Knows engines. What bundles are installed is for a later version.
"""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from diffad_edge.cli.arguments import CacheOption, JsonOption


def status(cache: CacheOption = None, *, json: JsonOption = False) -> None:
    """List the engines that were built on this device."""
    from diffad_edge.cli.enginestatusview import show_kept
    from diffad_runtime.enginecache.location import cache_folder
    from diffad_runtime.enginecache.store import kept_engines

    folder = cache or cache_folder()
    show_kept(folder, kept_engines(folder), json=json)
