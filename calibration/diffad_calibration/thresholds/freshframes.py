"""New frames of good parts, judged one by one, with what thresholds need of them kept; unusable frames are refused.

Knows sources, frames and scores. Does not know thresholds, nor what is made of the scores.
"""

import hashlib
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from diffad_calibration.thresholds.pixeltail import PixelTail
from diffad_runtime.errors import DataError, EngineError, InputError
from diffad_runtime.inspector import Inspector
from diffad_runtime.result import Frame, Result
from diffad_runtime.sources import Source

LEAST_FRAMES = 10
MOST_FRAMES = 20_000
# Of n exchangeable scores the correlation of neighbours is normal with deviation 1 / sqrt(n): beyond 4 of these in one
# of 30,000 sets.
_ALIKE = 4.0

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True, eq=False)
class FreshFrames:
    """What was seen.

    Attributes:
        scores: of the frames kept, in the order they came.
        names: theirs, "frame 12" where the source gives none.
        tail: their largest pixels.
        copies: frames left out because an earlier one had the same pixels.
        neighbours: correlation of each score with the next; about 0 where the order means nothing.
    """

    scores: list[float]
    names: list[str]
    tail: PixelTail
    copies: int
    neighbours: float

    def above(self, threshold: float) -> int:
        """Frames whose score lies above a threshold."""
        return sum(score > threshold for score in self.scores)

    def highest(self, count: int = 3) -> list[tuple[str, float]]:
        """Name and score of the highest scores, highest first."""
        order = np.argsort(-np.array(self.scores), kind="stable")[:count]
        return [(self.names[row], self.scores[row]) for row in order]

    def warnings(self) -> list[str]:
        """One line for each thing that makes these frames worth less than their number."""
        lines = []
        if self.copies:
            lines.append(f"{self.copies} frames have the same pixels as an earlier one and were left out")
        if self.neighbours > _ALIKE / np.sqrt(len(self.scores)):
            lines.append(
                f"scores of neighbouring frames are alike (correlation {self.neighbours:.2f}): what is promised wants "
                "frames drawn like those of later parts; take one frame a part, over a shift or more"
            )
        return lines


def judge_good_frames(
    inspector: Inspector, source: Source, *, frames: int | None, pixel_rate: float, progress: Progress
) -> FreshFrames:
    """Judge what a source gives, until it ends or has given `frames`. The source is closed in any case.

    Args:
        frames: None: all that there are; a live source needs a number.
        pixel_rate: of the PixelTail.
        progress: called with frames so far and in all, None where nobody knows.

    Raises:
        InputError: a live source without a number of frames.
        DataError: fewer than 10 different frames, a frame that cannot be read or judged, one of a single colour, or a
            source without end.
        SourceError: the source breaks.
    """
    if frames is None and source.live:
        source.close()
        raise InputError(f"{source.uri} goes on without end", mend="Say how many frames to take, as in --frames 1000")
    most = MOST_FRAMES if frames is None else frames
    tail, seen, scores, names, came = PixelTail(pixel_rate, most), set[bytes](), list[float](), list[str](), 0
    with closing(_judged(inspector, source, most, ends=frames is None)) as judged:
        for frame, result in judged:
            came += 1
            progress(came, frames)
            digest = hashlib.sha256(frame.image.tobytes()).digest()
            if digest not in seen:
                seen.add(digest)
                tail.add(result.anomaly_map)
                scores.append(result.score)
                names.append(_name(frame))
    if source.problems:
        raise DataError(
            f"{len(source.problems)} images cannot be read, the first: {source.problems[0]}",
            mend="Replace these files, or move them out of the folder",
        )
    if came > 1 and len(scores) == 1:
        raise DataError(
            f"all {came} frames have the same pixels: a frozen camera, or copies of one file",
            mend="Give frames of different parts",
        )
    if len(scores) < LEAST_FRAMES:
        raise DataError(
            f"{len(scores)} different frames are too few to set a threshold on, at least {LEAST_FRAMES} are needed",
            mend="Give more frames of good parts; 100 and more are usual, 999 promise a rate of 0.1 %",
        )
    return FreshFrames(scores, names, tail, came - len(scores), neighbour_correlation(scores))


def neighbour_correlation(scores: list[float]) -> float:
    """Correlation of the ranks of scores with those of the next ones; 0 where they do not vary."""
    ranks = np.unique(scores, return_inverse=True)[1].astype(np.float64)
    before, after = ranks[:-1] - ranks[:-1].mean(), ranks[1:] - ranks[1:].mean()
    scale = float(np.sqrt((before**2).sum() * (after**2).sum()))
    return float((before * after).sum() / scale) if scale > 0 else 0.0


def judge_frame(inspector: Inspector, frame: Frame) -> Result:
    """The result of one frame that must be judged.

    Raises:
        DataError: it is of a single colour, or the engine cannot judge it.
    """
    pixels = frame.image.reshape(-1, *frame.image.shape[2:])
    if (pixels == pixels[0]).all():
        raise DataError(f"{_name(frame)} is of a single colour", mend="Check the camera, its cap and the light")
    try:
        return inspector.inspect(frame)
    except EngineError as error:
        raise DataError(f"{_name(frame)} cannot be judged: {error.what}", mend=error.mend) from error


def _judged(
    inspector: Inspector, source: Source, most: int, *, ends: bool
) -> Generator[tuple[Frame, Result], None, None]:
    feed = inspector.feed(source)
    try:
        for count, frame in enumerate(feed):
            if count == most and ends:
                raise DataError(
                    f"{source.uri} gives more than {most} frames", mend="Say how many to take, as in --frames 1000"
                )
            yield frame, judge_frame(inspector, frame)
            if count + 1 == most and not ends:
                return
    finally:
        feed.close()


def _name(frame: Frame) -> str:
    return frame.name or f"frame {frame.frame_id}"
