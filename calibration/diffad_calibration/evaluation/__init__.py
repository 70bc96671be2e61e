"""`eval`: every model on the same test images of every category, by the same metrics, in one table.

contestants.py  one signature for all: images in, maps and scores out
lineup.py       who is measured, and the whole way from a data folder to figures and a report
bundle.py       a bundle as a line-up
references.py   PaDiM and PatchCore as contestants, on anybody's features
images.py       images a few at a time
runner.py       data folders, contestants -> an Evaluation
results.py      figures, intervals, differences; the JSON of `eval`
examples.py     which frames are worth a picture
publish.py      an Evaluation as an HTML report
"""

from diffad_calibration.evaluation.bundle import BundleContestant, bundle_facts, bundle_lineup, evaluate_bundle
from diffad_calibration.evaluation.contestants import Contestant, Display, Parts, VariantFacts
from diffad_calibration.evaluation.examples import PictureCounts
from diffad_calibration.evaluation.images import ImageBatches
from diffad_calibration.evaluation.lineup import EvalOutcome, EvalRequest, Lineup, evaluate_lineup
from diffad_calibration.evaluation.publish import publish
from diffad_calibration.evaluation.references import REFERENCES, reference_contestants
from diffad_calibration.evaluation.results import ClassResult, Evaluation, Scored
from diffad_calibration.evaluation.runner import evaluate

__all__ = [
    "REFERENCES",
    "BundleContestant",
    "ClassResult",
    "Contestant",
    "Display",
    "EvalOutcome",
    "EvalRequest",
    "Evaluation",
    "ImageBatches",
    "Lineup",
    "Parts",
    "PictureCounts",
    "Scored",
    "VariantFacts",
    "bundle_facts",
    "bundle_lineup",
    "evaluate",
    "evaluate_bundle",
    "evaluate_lineup",
    "publish",
    "reference_contestants",
]
