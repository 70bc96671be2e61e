"""From a map to one number.

Knows the manifest's way of scoring. Does not know thresholds or verdicts.
"""

import numpy as np

from diffad_runtime.errors import InputError
from diffad_runtime.manifest import ImageScore
from diffad_runtime.result import FloatMap


def image_score(anomaly_map: FloatMap, how: ImageScore) -> float:
    """Mean of the `how.pixels` largest values, added up in float64.

    The values are sorted before they are added: the order in which np.partition leaves them depends on the processor,
    and with it the last bit of a sum.

    Args:
        anomaly_map: float32, any shape.

    Raises:
        InputError: the map has fewer pixels than asked for.
    """
    values = anomaly_map.ravel()
    first = values.size - how.pixels
    if first < 0:
        raise InputError(
            f"the image score wants {how.pixels} pixels, the map has {values.size}", mend="Lower image_score.pixels"
        )
    if anomaly_map.ndim == 2 and how.pixels <= len(anomaly_map):
        # Of n rows' maxima the k-th largest is a floor for the k largest values, and few others reach it: a seventh of
        # the time of a partition of all. A NaN row makes the floor NaN, and NaN reaches nothing.
        maxima = anomaly_map.max(axis=1)
        floor = np.partition(maxima, len(maxima) - how.pixels)[-how.pixels]
        reaching = values[values >= floor]
        if reaching.size >= how.pixels and np.isfinite(maxima).all():
            values, first = reaching, reaching.size - how.pixels
    top = np.sort(np.partition(values, first)[first:])
    return float(top.mean(dtype=np.float64))
