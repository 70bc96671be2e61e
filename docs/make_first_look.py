"""The picture on the README's first screen, from a bundle and the synthetic line:

    python docs/make_first_look.py demo-out/model.diffad docs/images/first-look.png

Four rows: the frame, the true defect, the anomaly map over the frame, the mask that was found. The parts are drawn
from a seed that neither the demo's training nor its test pictures use; the first part of each kind that the line makes
is shown, found or not.
"""

import sys

import cv2
import numpy as np

from diffad_edge import Inspector
from diffad_runtime.geometry import to_frame
from diffad_runtime.result import FloatMap, Image
from diffad_runtime.synthetic import DEFECT_KINDS, LineConfig, SyntheticLine

SIDE, GAP, SEED = 256, 6, 77


def heat(image: Image, anomaly: FloatMap, threshold: float) -> Image:
    """The map in colours over a dimmed frame; the pixel threshold is the middle of the scale."""
    level = np.clip(to_frame(anomaly, *image.shape[:2]) / (2 * threshold), 0, 1)
    colours = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.addWeighted(image, 0.45, colours, 0.75, 0), np.uint8)


def outlined(image: Image, mask: Image) -> Image:
    """The frame with the mask's outline."""
    out = image.copy()
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, contours, -1, (0, 200, 255), 2)
    return out


def main(bundle: str, path: str) -> None:
    """Write the picture."""
    line, rows = SyntheticLine(LineConfig(size=SIDE, seed=SEED)), []
    with Inspector.open(bundle) as inspector:
        for number, kind in enumerate((*DEFECT_KINDS, "good")):
            part = line.frame(number, kind)
            result = inspector.inspect(part.image)
            truth = cv2.cvtColor(part.mask, cv2.COLOR_GRAY2BGR)
            colours = heat(part.image, result.anomaly_map, result.pixel_threshold)
            rows.append([part.image, truth, colours, outlined(part.image, result.mask)])
            print(
                f"{kind:13s} {result.verdict.value}  score {result.score:.2f}  threshold {result.image_threshold:.2f}"
            )
    sheet = np.full((4 * (SIDE + GAP) + GAP, len(rows) * (SIDE + GAP) + GAP, 3), 255, np.uint8)
    for column, row in enumerate(rows):
        for line_number, picture in enumerate(row):
            top, left = GAP + line_number * (SIDE + GAP), GAP + column * (SIDE + GAP)
            sheet[top : top + SIDE, left : left + SIDE] = picture
    cv2.imwrite(path, cv2.resize(sheet, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA))


if __name__ == "__main__":
    main(*sys.argv[1:3])
