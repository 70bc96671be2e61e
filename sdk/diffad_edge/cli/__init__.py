"""The command line. One file per command; each imports what it needs when it runs, so that --help is quick."""

from diffad_edge.cli.app import main

__all__ = ["main"]
