"""One graph to INT8 for a CPU, in one call: measure ranges, round, correct biases.

For whoever needs one graph and no record; a bundle's variants are made together, from one pass over the frames
(variants.py).
"""

from collections.abc import Iterable, Sequence

from diffad_calibration.precision.biascorrection import bias_shifts
from diffad_calibration.precision.ranges import Collector, Feed
from diffad_calibration.precision.recipes import CPU, quantise

CORRECTION_FRAMES = 16


class Sample:
    """A few of many feeds, evenly spaced as far as can be known while they pass.

    Args:
        most: how many to keep.
    """

    def __init__(self, most: int = CORRECTION_FRAMES) -> None:
        self.kept: list[Feed] = []
        self._most, self._count, self._stride = most, 0, 1

    def offer(self, feed: Feed) -> None:
        """Keep it, or let it pass."""
        if self._count % self._stride == 0:
            self.kept.append(feed)
            if len(self.kept) > self._most:  # every second one goes, and only every second one comes from here on
                self.kept, self._stride = self.kept[::2], 2 * self._stride
        self._count += 1


def quantise_for_cpu(
    model: bytes,
    calibration: Iterable[Feed],
    *,
    keep_float: Sequence[str] = (),
    correct_bias: bool = True,
    estimator: str = "minmax",
) -> bytes:
    """Quantise a graph's convolutions, and what lies between them, for onnxruntime on a CPU.

    Args:
        model: FP32 ONNX, batch and sizes static, no external data.
        calibration: feeds, input name -> array, one frame each, as the graph will see them. Read once, one at a time.
        keep_float, estimator: as `quantise` and `estimate`.
        correct_bias: measure on some of the feeds what rounding adds to each channel's mean, and take it off the bias.

    Returns:
        ONNX in QDQ form, one self-contained file.

    Raises:
        DataError: no calibration feeds, a pattern that matches nothing, or no convolution left.
        DiffadError: not a graph of opset 17 to 20, or onnxruntime refuses the graph or a feed.
    """
    collector, sample = Collector(model), Sample()
    for feed in calibration:
        collector.add(feed)
        sample.offer(feed)
    ranges = collector.ranges(estimator, symmetric=False)
    made = quantise(model, CPU, ranges, keep_float=keep_float)
    if not correct_bias:
        return made
    return quantise(model, CPU, ranges, keep_float=keep_float, shifts=bias_shifts(model, made, sample.kept))
