"""`eval RUN --explain`: which test images of each category are explained, and with what.

Joins a run, an evaluation and `explain`. Knows neither how an explanation is made nor how it looks.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from diffad_calibration.dataset import Dataset
from diffad_calibration.evaluation import Evaluation
from diffad_calibration.loading import load_images, load_masks
from diffad_calibration.report.explained import ExplainedSection, Explanation, explained_context
from diffad_export.explain import ExplainSettings, Model, Subject, choose_subjects, explain
from diffad_export.guidance import fit_guide
from diffad_export.progress import track
from diffad_export.runset import open_runs
from diffad_runtime.manifest import ImageScore
from diffad_runtime.scoring import image_score

GUIDE_IMAGES = 300


def explain_run(run_folder: Path, most: int = 9) -> Callable[[Sequence[Dataset], Evaluation], ExplainedSection | None]:
    """For `evaluate_lineup`: explains at most `most` test images of each category.

    Reverse chains start where the teacher was trained.

    Raises:
        InputError: no run there, or an unfinished one.
    """
    runs = open_runs(run_folder)
    settings = replace(ExplainSettings(), most=most)
    extractor = runs.first.extractor()

    def explained(datasets: Sequence[Dataset], evaluation: Evaluation) -> ExplainedSection | None:
        made: list[Explanation] = []
        for dataset, result in zip(datasets, evaluation.classes, strict=True):
            run, category = runs.find(dataset.name)
            score, teacher = run.score(category), run.teacher()
            how = ImageScore(pixels=min(score.config.top_pixels, run.config.size**2))
            scorer = run.reconstructor(teacher, category, score.config, score.fitted)
            good = load_images(dataset.train_good[:GUIDE_IMAGES], run.config.size).array
            model = Model(
                denoiser=teacher,
                extractor=extractor,
                guide=fit_guide(extractor, good),
                scores=scorer,
                image_score=lambda fused, how=how: image_score(fused, how),  # type: ignore[misc]
                levels=scorer.levels,
                label=scorer.label,
            )
            first = next(iter(result.models.values()))
            rows = choose_subjects(result.kinds, first.scores, settings.most)
            samples = [dataset.test[row] for row in rows]
            images, masks = (
                load_images([s.image for s in samples], run.config.size),
                load_masks(samples, run.config.size),
            )
            subjects = [
                Subject(images.names[i], samples[i].kind, images.array[i], masks[i] if samples[i].label else None)
                for i in range(len(rows))
            ]
            made += explain(track(subjects, f"Explaining {dataset.name}"), model, settings, category=dataset.name)
        return explained_context(made)

    return explained
