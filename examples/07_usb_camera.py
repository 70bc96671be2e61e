"""A USB camera: pictures with the mask's outline for the first minute, and what the camera is doing.

    python examples/07_usb_camera.py MODEL.diffad [CAMERA] [SECONDS]

CAMERA is 0 for the first one, v4l2:///dev/video2 for a certain one; any other URI works, too. Pulled out and put back,
it is opened again by itself: nothing here has to know. Pictures go to looks/.
"""

import sys
import time
from pathlib import Path

import cv2

from diffad_edge import Inspector, Limits, Verdict, open_source

COLOURS = {
    Verdict.OK: (160, 120, 0),
    Verdict.NG: (0, 94, 213),
    Verdict.ERROR: (167, 121, 204),
}  # BGR, told apart by all


def main(model: str, camera: str = "0", seconds: str = "60") -> None:
    folder, until = Path("looks"), time.monotonic() + float(seconds)
    folder.mkdir(exist_ok=True)
    # No frame for two seconds: it is opened anew, for as long as it takes.
    with Inspector.open(model) as inspector, open_source(camera, limits=Limits(stall_s=2)) as source:
        for frame in source:
            result = inspector.judge(frame)
            outline, _ = cv2.findContours(result.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            picture = cv2.drawContours(frame.image.copy(), outline, -1, COLOURS[result.verdict], 2)
            cv2.putText(picture, result.verdict.value, (8, 28), 0, 0.9, COLOURS[result.verdict], 2)
            cv2.imwrite(str(folder / f"{result.frame_id % 100:02d}.png"), picture)  # the last hundred
            print(f"{result.verdict.value:5s} score {result.score:6.3f}  {source.status().state.value}")
            if time.monotonic() > until:
                break
    for problem in source.problems:
        print("problem:", problem)


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3, 4} or {"-h", "--help"} & set(sys.argv):
        sys.exit(__doc__)
    main(*sys.argv[1:])
