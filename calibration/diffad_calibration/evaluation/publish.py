"""An evaluation as an HTML report: table, histograms, pictures, and what the shipped thresholds would have decided."""

import platform
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from diffad_calibration.evaluation.contestants import BundleContestant
from diffad_calibration.evaluation.examples import make_examples, pick_rows
from diffad_calibration.evaluation.runner import ClassResult, Evaluation
from diffad_calibration.report import write_report
from diffad_calibration.report.data import ClassTable, ModelRow, ReportData, ScoreHistogram, TimingRow


def publish(
    folder: Path,
    evaluation: Evaluation,
    shown: BundleContestant,
    *,
    title: str,
    subtitle: str = "",
    facts: list[tuple[str, str]] | None = None,
    timings: list[TimingRow] | None = None,
    warnings: list[str] | None = None,
) -> Path:
    """Write the report; gives the path of its index.html.

    Args:
        shown: the bundle's variant that the pictures are made with.
        facts: added to those that this function knows.
    """
    manifest, bundle = shown.bundle.manifest, shown.bundle
    data = ReportData(title=title, subtitle=subtitle, timings=timings or [], warnings=list(warnings or []))
    data.facts.extend(
        [
            ("Model", f"{manifest.model_id}, version {manifest.version}"),
            ("Bundle digest", bundle.digest[:16]),
            ("Map and mask resolution", f"{evaluation.size} x {evaluation.size} px, masks by nearest neighbour"),
            ("Fusion", f"{manifest.reconstruction.alpha:g} pixel KL + {1 - manifest.reconstruction.alpha:g} features"),
            ("Noise level", ", ".join(f"t = {t}" for t in manifest.reconstruction.levels)),
            ("Machine", f"{platform.machine()}, Python {platform.python_version()}"),
            ("Date", datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
            *(facts or []),
        ]
    )
    for result in evaluation.classes:
        rows = [ModelRow(name, s.metrics.to_dict(), s.contestant.note) for name, s in result.models.items()]
        data.classes.append(ClassTable(result.name, rows))
        data.facts.append(("Images", _counts(result)))
        data.facts.append(("At the shipped threshold", _decisions(result, evaluation.first)))
        for name, scored in result.models.items():
            if scored.contestant.threshold is not None:
                good = scored.scores[result.labels == 0]
                defective = scored.scores[result.labels == 1]
                data.histograms.append(ScoreHistogram(name, good, defective, scored.contestant.threshold))
        rows_shown = pick_rows(result, result.models[evaluation.first].scores)
        data.examples.extend(make_examples(result, rows_shown, shown.engine, manifest, evaluation.first))
    return write_report(folder, data)


def _counts(result: ClassResult) -> str:
    return f"{int((result.labels == 0).sum())} good, {int((result.labels == 1).sum())} defective"


def _decisions(result: ClassResult, model: str) -> str:
    scored = result.models[model]
    ng = scored.scores > (scored.contestant.threshold if scored.contestant.threshold is not None else np.inf)
    good, bad = result.labels == 0, result.labels == 1
    return (
        f"{int((ng & bad).sum())} of {int(bad.sum())} defective parts rejected, "
        f"{int((ng & good).sum())} of {int(good.sum())} good parts rejected"
    )
