"""Training: one loop, and the objectives that it is given."""
