"""What a graph must be so that every backend accepts it and computes the same: checked without any backend."""

from diffad_calibration.lint.finding import Finding
from diffad_calibration.lint.rules import RULES, Rule, check_lint, lint
from diffad_calibration.lint.weights import compare_weights

__all__ = ["RULES", "Finding", "Rule", "check_lint", "compare_weights", "lint"]
