"""Warnings about results that must not be trusted, in words that can be acted on."""

from collections.abc import Callable, Mapping
from typing import Any


def warnings_about(metrics: Mapping[str, Any], with_remedy: bool = True) -> list[str]:
    """Word a warning for every measure beyond its limit.

    Args:
        metrics: Headline numbers by name; those that are missing or None are not judged.
        with_remedy: Whether to say what to change; it helps only with a ClassifSAE of the user's own.
    """
    checks: tuple[tuple[str, Callable[[float], bool], str, str], ...] = (
        (
            "recovery_accuracy",
            lambda value: value < 0.90,
            "The concepts recover only {value:.1%} of the model's decisions (below 90 %): they miss part of what "
            "it uses.",
            "Train longer (train.total_samples), or use more concepts (sae.n_concepts).",
        ),
        (
            "max_activation_rate",
            lambda value: value == 0,
            "No concept fires on any test text: there is nothing to explain the decisions with.",
            "Check that the SAE was trained on states of this model, and train longer (train.total_samples).",
        ),
        (
            "max_activation_rate",
            lambda value: value > 0.5,
            "One concept is active on {value:.1%} of the texts (above 50 %): it says little about any of them.",
            "Raise sae.activation_rate_coefficient or lower sae.gamma.",
        ),
        (
            "conditional_tvd",
            lambda value: value < 0.005,
            "Removing a concept moves the class probabilities by {value:.2%} on average (below 0.5 %): the concepts "
            "hardly cause the decisions.",
            "Use fewer concepts (sae.n_concepts) or another layer (classifier.hook).",
        ),
        (
            "dead_latents",
            lambda value: value > 0.5,
            "{value:.1%} of the latents fire on no test text (above half): the SAE is larger than it needs to be.",
            "Lower sae.d_sae, or train longer (train.total_samples).",
        ),
    )
    return [
        finding.format(value=metrics[name]) + (f" {remedy}" if with_remedy else "")
        for name, is_beyond, finding, remedy in checks
        if metrics.get(name) is not None and is_beyond(metrics[name])
    ]
