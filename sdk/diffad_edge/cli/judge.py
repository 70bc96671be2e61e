"""From MODEL to whoever judges: a bundle, or a folder of installed models that is followed.

Knows options that say which model and how. Does not know cameras or the line.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diffad_runtime.bundle import open_bundle
from diffad_runtime.engines.ondevice import OnDevice
from diffad_runtime.inspector import Inspector
from diffad_runtime.models import TrialSettings
from diffad_runtime.models.running import ModelRun
from diffad_runtime.result import Result
from diffad_runtime.trust import Policy


@dataclass(frozen=True, slots=True)
class Judge:
    """Who judges.

    Attributes:
        inspector: of the bundle.
        models: follows the folder, None for a bundle.
    """

    inspector: Inspector
    models: ModelRun | None = None

    def tick(self, also: Callable[[], None]) -> None:
        """Ten times a second."""
        also()
        if self.models is not None:
            self.models.tick()

    def count(self, also: Callable[[Result], None] | None, result: Result) -> None:
        """Each result."""
        if self.models is not None:
            self.models.count(result)
        if also is not None:
            also(result)


def trial_of(parts: int, minutes: float, *, by_hand: bool) -> TrialSettings:
    """How long a new model is on trial, and who ends it."""
    return TrialSettings(commit_parts=parts, commit_s=60 * minutes, automatic=not by_hand)


def open_judge(
    model: Path,
    backend: str,
    variant: str | None,
    threads: int | None,
    *,
    device: OnDevice,
    recipes: Path | None,
    recipe: str | None,
    policy: Policy,
    trial: TrialSettings,
) -> Judge:
    """Open the bundle, or the generation that the folder wants.

    Raises:
        BundleError: not to be trusted, by its bytes or by who signed it.
        InputError, EngineError, GateError, MissingExtraError: as Inspector.open.
    """
    make = partial(
        Inspector.open,
        backend=backend,
        variant=variant,
        threads=threads,
        device=device,
        recipes=recipes,
        recipe=recipe,
    )
    if model.is_dir():
        run = ModelRun(model, make, policy, trial)
        return Judge(run.inspector, run)
    bundle = open_bundle(model)
    policy.check(bundle)
    return Judge(make(bundle))
