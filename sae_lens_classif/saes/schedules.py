"""How the loss changes over training: the paper's code (``reference``) and the paper's text (``paper``)."""

from typing import Literal, NamedTuple, Protocol


class ScheduleConfig(Protocol):
    """What a schedule needs to know of a configuration."""

    schedule: Literal["reference", "paper"]
    total_training_steps: int
    mse_coefficient: float
    activation_rate_coefficient: float
    classifier_coefficient: float


class Coefficients(NamedTuple):
    """Weights of the loss terms at one step."""

    mse: float
    activation_rate: float
    classifier: float


def coefficients(cfg: ScheduleConfig, step: int) -> Coefficients:
    """Weights of the terms after ``step`` finished steps.

    ``reference`` keeps them; ``paper`` lets those of MSE and RATE fall linearly to 0 at the last step.
    """
    remaining = 1.0 - step / cfg.total_training_steps if cfg.schedule == "paper" else 1.0
    return Coefficients(
        mse=cfg.mse_coefficient * remaining,
        activation_rate=cfg.activation_rate_coefficient * remaining,
        classifier=cfg.classifier_coefficient,
    )


def detaches_concepts(cfg: ScheduleConfig, step: int) -> bool:
    """Whether the reconstruction sends no gradient through the concepts: ``reference``, second half.

    Where nothing but the reconstruction is asked for, it never stops: the concepts would not learn at all.
    """
    only_reconstruction = cfg.activation_rate_coefficient == 0 and cfg.classifier_coefficient == 0
    return cfg.schedule == "reference" and not only_reconstruction and 2 * step >= cfg.total_training_steps
