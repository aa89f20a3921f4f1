"""Both schedules, by their definitions."""

from typing import Any, Literal

from sae_lens_classif import ClassifTrainingSAEConfig
from sae_lens_classif.saes.schedules import coefficients, detaches_concepts


def _cfg(schedule: Literal["reference", "paper"], **changes: Any) -> ClassifTrainingSAEConfig:
    return ClassifTrainingSAEConfig(
        d_in=4,
        d_sae=30,
        n_classes=2,
        total_training_steps=100,
        schedule=schedule,
        **changes,
    )


def test_the_reference_keeps_its_weights_and_detaches_from_half_of_training_on() -> None:
    cfg = _cfg("reference")
    assert {coefficients(cfg, step) for step in (0, 49, 50, 99)} == {(0.02, 0.02, 1.0)}
    assert [detaches_concepts(cfg, step) for step in (0, 49, 50, 99)] == [False, False, True, True]


def test_the_paper_lets_reconstruction_and_rate_fall_linearly_to_zero_and_never_detaches() -> None:
    cfg = _cfg("paper")
    assert coefficients(cfg, 0) == (0.02, 0.02, 1.0)
    assert coefficients(cfg, 50) == (0.01, 0.01, 1.0)
    assert coefficients(cfg, 100) == (0.0, 0.0, 1.0)
    assert not any(detaches_concepts(cfg, step) for step in (0, 50, 99))


def test_concepts_that_nothing_else_trains_are_never_detached() -> None:
    cfg = _cfg("reference", activation_rate_coefficient=0.0, classifier_coefficient=0.0)
    assert not detaches_concepts(cfg, 99)
