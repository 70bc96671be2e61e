"""`eval`: every model on the same test images, by the same metrics, in one table.

contestants.py  one signature for all: images in, maps and scores out
runner.py       a data folder, contestants -> an Evaluation
examples.py     which frames are worth a picture, and the pictures' data
publish.py      an Evaluation as JSON and as an HTML report
"""

from diffad_calibration.evaluation.contestants import BundleContestant, Contestant, reference_contestants
from diffad_calibration.evaluation.publish import publish
from diffad_calibration.evaluation.runner import Evaluation, evaluate

__all__ = ["BundleContestant", "Contestant", "Evaluation", "evaluate", "publish", "reference_contestants"]
