"""Which differences between concept methods are real: means over seeds, intervals over seeds and texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sae_lens_classif.evals.bootstrap import interval
from sae_lens_classif.evals.measures import compared_measures
from sae_lens_classif.evals.results import Measures, finite, merged_metrics
from sae_lens_classif.evals.significance import ALPHA, holm, p_value

REFERENCE = "classifsae"


@dataclass(frozen=True)
class SeedResult:
    """What was measured of a method fitted with one seed.

    Attributes:
        seed: The seed.
        metrics: Headline numbers by name; empty where the fit or the measuring failed.
        resamples: Their values over resampled texts, float64 (R,) each.
        notes: What a reader must know: warnings, and why a fit failed.
        fit_seconds: How long the fit took; None where it was reused from another command.
        settings_sha256: Fingerprint of everything that the numbers depend on; empty where there are none.
    """

    seed: int
    metrics: Mapping[str, Any]
    resamples: Mapping[str, torch.Tensor]
    notes: tuple[str, ...]
    fit_seconds: float | None
    settings_sha256: str = ""

    @classmethod
    def of(
        cls,
        seed: int,
        measures: Mapping[str, Measures],
        notes: tuple[str, ...] = (),
        fit_seconds: float | None = None,
        settings_sha256: str = "",
    ) -> "SeedResult":
        """What several evaluations found, in one."""
        resamples = {name: value for found in measures.values() for name, value in found.resamples.items()}
        return cls(seed, merged_metrics(measures), resamples, notes, fit_seconds, settings_sha256)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval over seeds and texts.

    Attributes:
        mean: None where nothing was measured.
        ci95: ``(low, high)``; None where there is no interval.
        by_seed: The values of the single seeds.
    """

    mean: float | None
    ci95: tuple[float, float] | None
    by_seed: tuple[float | None, ...]


@dataclass(frozen=True)
class Difference:
    """A method less the reference, over the same resampled texts.

    Attributes:
        mean: Difference of the means over seeds.
        ci95: ``(low, high)``, of this difference alone.
        p_value: Two-sided, of the paired bootstrap, as ``significance.p_value``.
        p_holm: The same corrected for the number of methods that are held against the reference by this measure.
        n_resamples: How many resamplings these are from.
        is_real: Whether ``p_holm`` is at most 0.05.
    """

    mean: float
    ci95: tuple[float | None, float | None]
    p_value: float
    p_holm: float
    n_resamples: int
    is_real: bool


@dataclass(frozen=True)
class ComparedMethod:
    """One row of a comparison.

    Attributes:
        name: Name of the method.
        title: How tables call it.
        seeds: The seeds it was fitted with.
        estimates: Its measures by name.
        differences: How far it is from the reference, by measure; empty for the reference itself.
        notes: What a reader must know, each with the seeds it concerns.
        fit_seconds: Mean time of a fit; None where none was timed.
        settings_sha256: Of each seed, the fingerprint of everything that its numbers depend on; empty where there are
            none.
    """

    name: str
    title: str
    seeds: tuple[int, ...]
    estimates: Mapping[str, Estimate]
    differences: Mapping[str, Difference]
    notes: tuple[str, ...]
    fit_seconds: float | None
    settings_sha256: tuple[str, ...] = ()

    def estimate(self, measure: str) -> "Estimate":
        """What is known of a measure; one that came later, or of an evaluation that is not installed, has none."""
        return self.estimates.get(measure, Estimate(None, None, ()))


def compare_results(
    results: Mapping[str, Sequence[SeedResult]], titles: Mapping[str, str], against: str = REFERENCE
) -> tuple[ComparedMethod, ...]:
    """Compare methods that were measured on the same texts with the same resampling.

    The interval comes from a bootstrap in two stages: each resampling of the texts is taken together with a
    resampling of the seeds. The others are compared with the reference, if it is among them; a difference from it
    uses the same texts for both methods (paired). Its p-value is corrected for the number of these methods, for each
    measure by itself.

    Args:
        results: For each method one result a seed.
        titles: How tables call each method.
        against: Name of the reference.
    """
    differences = _differences(results, against)
    rows = []
    for number, (name, of_seeds) in enumerate(results.items()):
        times = [result.fit_seconds for result in of_seeds if result.fit_seconds is not None]
        rows.append(
            ComparedMethod(
                name=name,
                title=titles[name],
                seeds=tuple(result.seed for result in of_seeds),
                estimates={m.name: estimate(of_seeds, m.name, number) for m in compared_measures()},
                differences=differences[name],
                notes=_gather_notes(of_seeds),
                fit_seconds=sum(times) / len(times) if times else None,
                settings_sha256=tuple(result.settings_sha256 for result in of_seeds),
            )
        )
    return tuple(rows)


def estimate(results: Sequence[SeedResult], measure: str, number: int = 0) -> Estimate:
    """Mean of a measure over seeds, with its interval over seeds and texts.

    Args:
        results: One result a seed.
        measure: Name of the measure.
        number: Draws the seeds; another one for each method that is compared.
    """
    values = tuple(finite(result.metrics.get(measure)) for result in results)
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Estimate(None, None, values)
    resampled = _resampled(results, measure, number)
    low_high = interval(resampled) if resampled is not None else None
    return Estimate(sum(known) / len(known), (low_high[0], low_high[1]) if low_high else None, values)


def _resampled(results: Sequence[SeedResult], measure: str, number: int) -> torch.Tensor | None:
    """Means over resampled seeds on resampled texts, float64 (R,); None where a seed has none.

    The seeds of two methods have nothing in common: ``number`` of the method draws them.
    """
    if any(measure not in result.resamples or result.resamples[measure].isnan().all() for result in results):
        return None
    values = torch.stack([result.resamples[measure] for result in results], dim=1)
    drawn = torch.randint(len(results), values.shape, generator=torch.Generator().manual_seed(number))
    return values.gather(1, drawn).mean(dim=1)


def _differences(results: Mapping[str, Sequence[SeedResult]], against: str) -> dict[str, dict[str, Difference]]:
    """How far each method is from the reference, by method and measure; nothing where one of the two is unknown."""
    found: dict[str, dict[str, Difference]] = {name: {} for name in results}
    for measure in (measure.name for measure in compared_measures(has_interval=True) if measure.better):
        means, resampled = {}, {}
        for number, (name, of_seeds) in enumerate(results.items()):
            mean, values = estimate(of_seeds, measure, number).mean, _resampled(of_seeds, measure, number)
            if mean is not None and values is not None:
                means[name], resampled[name] = mean, values
        if against not in means:
            continue
        less = {name: values - resampled[against] for name, values in resampled.items() if name != against}
        p_values = [p_value(values) for values in less.values()]
        for (name, values), p, corrected in zip(less.items(), p_values, holm(p_values), strict=True):
            low, high = interval(values)
            mean = means[name] - means[against]
            found[name][measure] = Difference(mean, (low, high), p, corrected, len(values), corrected <= ALPHA)
    return found


def _gather_notes(results: Sequence[SeedResult]) -> tuple[str, ...]:
    seeds_of: dict[str, list[int]] = {}
    for result in results:
        for note in result.notes:
            seeds_of.setdefault(note, []).append(result.seed)
    if len(results) == 1:
        return tuple(seeds_of)
    return tuple(f"seed {', '.join(map(str, seeds))}: {note}" for note, seeds in seeds_of.items())
