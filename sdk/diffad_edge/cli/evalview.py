"""Detection figures as a table. Knows words and digits; measures nothing."""

from diffad_calibration.evaluation.bundle import EvalOutcome
from diffad_calibration.evaluation.runner import Evaluation
from diffad_edge.cli.output import print_json, stdout, table

COLUMNS = {
    "aupro_30": "AUPRO\n@0.3",
    "aupro_05": "AUPRO\n@0.05",
    "pixel_auroc": "pixel\nAUROC",
    "pixel_ap": "pixel\nAP",
    "image_auroc": "image\nAUROC",
    "image_ap": "image\nAP",
    "f1_max": "F1\nmax",
}


def show_evaluation(outcome: EvalOutcome, *, json: bool) -> None:
    """Print the tables, then where the report is; or one JSON object."""
    if json:
        report = str(outcome.report) if outcome.report else None
        print_json({**outcome.evaluation.to_json(), "report": report})
        return
    show_figures(outcome.evaluation)
    if outcome.report:
        stdout().print(f"report: {outcome.report}", soft_wrap=True)


def show_figures(evaluation: Evaluation) -> None:
    """One table a class."""
    for result in evaluation.classes:
        rows = []
        for name, scored in result.models.items():
            figures = scored.metrics.to_dict()
            values = [figures[key] for key in COLUMNS]
            rows.append([name, *("-" if value is None else f"{value:.3f}" for value in values)])
        title = f"{result.name}: {len(result.names)} test images at {evaluation.size} px"
        stdout().print(table(title, ["model", *COLUMNS.values()], rows))
        stdout().print()
