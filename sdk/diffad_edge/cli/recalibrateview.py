"""What a recalibration did, in words. Knows Recalibration's fields; sets nothing."""

from diffad_calibration.thresholds.recalibrate import Recalibration
from diffad_edge.cli.bundleview import thresholds_in_words
from diffad_edge.cli.output import facts, note, print_json, stdout


def show_recalibration(done: Recalibration, *, json: bool) -> None:
    """Warnings on stderr; then the old and the new thresholds, or one JSON object."""
    for warning in done.warnings:
        note(f"warning: {warning}")
    if done.signature_dropped:
        note(f"warning: the bundle was signed; {done.out} is not, sign it before a device that asks for it takes it")
    if json:
        print_json(done.to_json())
        return
    old, new, count = done.before.thresholds, done.after.thresholds, done.frames
    worst = ", ".join(f"{name} {score:.4g}" for name, score in done.highest)
    rows = [
        ("bundle", f"{done.out}, {done.after.model_id}, version {done.after.version}, digest {done.digest[:16]}"),
        ("image threshold", f"{old.image:.4g} -> {new.image:.4g}"),
        ("pixel threshold", f"{old.pixel:.4g} -> {new.pixel:.4g}"),
        (
            "good frames",
            f"{count}; the old threshold rejects {done.old_rejects} of them, the new one {done.new_rejects}",
        ),
        ("highest scores", f"{worst}: are these good parts?"),
        ("golden frames", f"{done.golden_changed} with another verdict than before"),
    ]
    console = stdout()
    console.print(facts(rows))
    console.print()
    console.print(facts([row for row in thresholds_in_words(done.after) if row[0] != "too few images"]))
