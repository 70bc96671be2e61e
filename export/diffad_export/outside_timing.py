"""Outside references as contestants of `bench`: the same resize, score and mask around another network.

Knows which references there are. What they compute has a file of its own (outside.py).
"""

import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import onnxruntime

from diffad_export.outside import MAP, padim_graph
from diffad_runtime.bundle import Bundle
from diffad_runtime.engines.onnxruntime import session_options, usable_cores
from diffad_runtime.errors import InputError
from diffad_runtime.geometry import to_input
from diffad_runtime.masks import defect_mask
from diffad_runtime.result import Image
from diffad_runtime.rules import DecisionRules
from diffad_runtime.scoring import image_score

REFERENCES: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "padim-resnet18": ("PaDiM ResNet-18, fp32 (random weights: for time only)", padim_graph)
}


def reference_timing(
    name: str, bundle: Bundle, threads: int | None = None
) -> dict[str, Callable[[Image], dict[str, float]]]:
    """For an interleaved benchmark: name -> function of a frame (H, W, 3) that gives milliseconds per stage.

    Args:
        name: of REFERENCES.
        bundle: whose input size and rules the reference takes over. Its pixel threshold is the median of its own first
            map, so that its mask is as much work as can be.
        threads: None: as many as this process may use.

    Raises:
        InputError: an unknown name.
    """
    if name not in REFERENCES:
        raise InputError(f"unknown reference {name!r}", mend=f"Choose from: {', '.join(REFERENCES)}")
    label, make = REFERENCES[name]
    size, rules = bundle.manifest.input_size, DecisionRules.of(bundle.manifest)
    session = onnxruntime.InferenceSession(
        make(size), session_options(threads or usable_cores()), providers=["CPUExecutionProvider"]
    )
    limits: list[float] = []

    def judge(frame: Image) -> dict[str, float]:
        marks = [time.perf_counter()]
        small = to_input(frame, size)
        marks.append(time.perf_counter())
        (found,) = session.run([MAP], {"image": small[None]})
        marks.append(time.perf_counter())
        if not limits:
            limits.append(float(np.median(found)))
        image_score(found[0], rules.image_score)
        defect_mask(found[0], limits[0], rules.min_defect_pixels, *frame.shape[:2])
        marks.append(time.perf_counter())
        resize, network, mask = (1e3 * (b - a) for a, b in pairwise(marks))
        return {"resize": resize, "network": network, "mask": mask}

    return {label: judge}
