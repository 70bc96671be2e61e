"""Which part of a frame is looked at, how it gets to the network, and how its map gets back to the frame."""
