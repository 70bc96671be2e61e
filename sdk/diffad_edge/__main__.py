"""`python -m diffad_edge` is `diffad-edge`."""

from diffad_edge.cli import main

if __name__ == "__main__":
    main()
