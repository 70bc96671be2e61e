"""Pictures made by computation: a production line with exact defect masks, and defects for real pictures."""

from diffad_runtime.synthetic.dataset import write_mvtec
from diffad_runtime.synthetic.line import DEFECT_KINDS, LineConfig, SyntheticFrame, SyntheticLine
from diffad_runtime.synthetic.pasted import paste_defect

__all__ = ["DEFECT_KINDS", "LineConfig", "SyntheticFrame", "SyntheticLine", "paste_defect", "write_mvtec"]
