"""What an evaluation gives."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from sae_lens_classif.evals.bootstrap import interval


@dataclass(frozen=True)
class Measures:
    """Result of one evaluation.

    Attributes:
        metrics: Headline numbers, and ``<name>_ci95`` pairs beside them.
        details: Numbers a class, concept or ablation.
        resamples: Values of the headline numbers over resampled texts, float64 (R,) each; those of two methods
            can be compared one by one, since the same seed draws the same texts.
    """

    metrics: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)
    resamples: dict[str, torch.Tensor] = field(default_factory=dict)

    def add_intervals(self, names: Sequence[str], values: torch.Tensor) -> None:
        """Keep resampled values, float64 (R, s), of s headline numbers, and put their intervals beside these."""
        for name, column in zip(names, values.T.contiguous(), strict=True):
            self.resamples[name] = column
            self.metrics[f"{name}_ci95"] = None if column.isnan().all() else interval(column)

    def add_beside(self, other: "Measures", names: Sequence[str], suffix: str) -> None:
        """Take over headline numbers that were measured otherwise, with their intervals, under longer names."""
        for name in names:
            for ending in ("", "_ci95"):
                self.metrics[f"{name}{suffix}{ending}"] = other.metrics[f"{name}{ending}"]
            self.resamples[f"{name}{suffix}"] = other.resamples[name]


def merged_metrics(measures: Mapping[str, Measures]) -> dict[str, Any]:
    """The headline numbers of several evaluations in one."""
    return {name: value for found in measures.values() for name, value in found.metrics.items()}


def finite(value: Any) -> Any:
    """A copy that JSON can hold: NaN and infinity become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return value
