"""Hours of triggered parts before a camera that goes wrong on purpose, and what has to hold all the while.

detection   pure: what was planted, what was noticed when -> each fault's time until it showed
growth      pure: samples of memory, handles and threads -> a slope, a spread
driver      asks for parts at the pace of a line, and counts what comes back
session     the run itself
report      what it comes to, and whether it passed
"""

from diffad_runtime.soak.outfit import plan_for, soak_with_sinks
from diffad_runtime.soak.report import SoakReport
from diffad_runtime.soak.session import SoakPlan, soak

__all__ = ["SoakPlan", "SoakReport", "plan_for", "soak", "soak_with_sinks"]
