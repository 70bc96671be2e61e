"""Images with pasted defects and the teacher's maps of them, for a student that should see what its teacher sees."""

import numpy as np
import torch

from diffad_export.backbone.extractor import normalise
from diffad_export.grids import GridLayout
from diffad_export.progress import track
from diffad_export.runfolder import Run
from diffad_export.split import Split
from diffad_export.training.mapmatch import MapBank
from diffad_runtime.synthetic.pasted import paste_defect

BANK_IMAGES = 192


@torch.no_grad()
def make_map_bank(run: Run, split: Split, layout: GridLayout, *, seed: int, count: int = BANK_IMAGES) -> MapBank:
    """Paste `count` defects into training images and have the run's teacher score them as configured.

    Args:
        layout: of the student's features.
    """
    one_grid = run.extractor()
    student = one_grid if layout == one_grid.layout else one_grid.as_pyramid()
    score = run.score(split.name)
    model = run.reconstructor(run.teacher(), split.name, score.config, score.fitted)
    mean, std = (v.view(1, -1, 1, 1) for v in (run.norm().mean, run.norm().std))
    images, maps, features = [], [], []
    for i in track(range(count), "Teacher's maps of pasted defects"):
        image, _ = paste_defect(split.train[i % len(split.train)], np.random.default_rng([seed, 7, i]))
        x = normalise(torch.from_numpy(image[None]))
        _, pixel, feature = model(x, one_grid.grids(x))
        maps.append((model.alpha * pixel + (1 - model.alpha) * feature)[0].numpy())
        grids = zip(student.grids(x), layout.split(mean, 1), layout.split(std, 1), strict=True)
        features.append([((f - m) / s)[0].half().numpy() for f, m, s in grids])
        images.append(image)
    return MapBank(np.stack(images), tuple(np.stack(part) for part in zip(*features, strict=True)), np.stack(maps))
