"""The diffusion process: schedule, posterior, KL. Pure functions and small tables; no network, no data."""
