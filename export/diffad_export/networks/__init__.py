"""The networks: teachers that know every noise level, a student that folds to plain convolutions."""

from diffad_export.networks.make import make_teacher

__all__ = ["make_teacher"]
