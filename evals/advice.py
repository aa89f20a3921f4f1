"""Warnings about results that must not be trusted, in words that can be acted on."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple


class _Check(NamedTuple):
    """A measure's limit, and what to say beyond it."""

    measure: str
    is_beyond: Callable[[float], bool]
    short: str
    finding: str
    remedy: str


_CHECKS = (
    _Check(
        "recovery_accuracy",
        lambda value: value < 0.90,
        "RAcc is below 90 %",
        "The concepts recover only {value:.1%} of the model's decisions (below 90 %): they miss part of what it uses.",
        "Train longer (train.total_samples), or use more concepts (sae.n_concepts).",
    ),
    _Check(
        "max_activation_rate",
        lambda value: value == 0,
        "no concept fires on any test text",
        "No concept fires on any test text: there is nothing to explain the decisions with.",
        "Check that the SAE was trained on states of this model, and train longer (train.total_samples).",
    ),
    _Check(
        "max_activation_rate",
        lambda value: value > 0.5,
        "a concept is active on more than half of the texts",
        "One concept is active on {value:.1%} of the texts (above 50 %): it says little about any of them.",
        "Raise sae.activation_rate_coefficient or lower sae.gamma.",
    ),
    _Check(
        "conditional_tvd",
        lambda value: value < 0.005,
        "TVD is below 0.5 %",
        "Removing a concept moves the class probabilities by {value:.2%} on average (below 0.5 %): the concepts "
        "hardly cause the decisions.",
        "Use fewer concepts (sae.n_concepts) or another layer (classifier.hook).",
    ),
    _Check(
        "dead_latents",
        lambda value: value > 0.5,
        "more than half of the latents fire on no test text",
        "{value:.1%} of the latents fire on no test text (above half): the SAE is larger than it needs to be.",
        "Lower sae.d_sae, or train longer (train.total_samples).",
    ),
)


def warnings_about(metrics: Mapping[str, Any]) -> list[str]:
    """Word a warning for every measure beyond its limit, and what a user of ClassifSAE can do.

    Args:
        metrics: Headline numbers by name; those that are missing or None are not judged.
    """
    return [f"{check.finding.format(value=metrics[check.measure])} {check.remedy}" for check in _failed(metrics)]


def short_warnings(metrics: Mapping[str, Any]) -> list[str]:
    """The same in a few words, for a table that shows the numbers.

    Args:
        metrics: Headline numbers by name; those that are missing or None are not judged.
    """
    return [check.short for check in _failed(metrics)]


def _failed(metrics: Mapping[str, Any]) -> Iterator[_Check]:
    for check in _CHECKS:
        value = metrics.get(check.measure)
        if value is not None and check.is_beyond(value):
            yield check
