"""The L1 regression against scikit-learn's saga, run long, and against the conditions that a minimum fulfils."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from sae_lens_classif.methods.l1_regression import TOLERANCE, Coefficients, LabelledLatents, fit_l1

Array = npt.NDArray[np.float64]


def _texts(n_classes: int, seed: int = 0, n: int = 150, p: int = 7) -> tuple[npt.NDArray[np.float32], Any]:
    """Sparse activations of very different scales, the first latents say something of the class, the last is dead."""
    random = np.random.default_rng(seed)
    classes = random.choice(n_classes, n, p=np.arange(1, n_classes + 1) / sum(range(1, n_classes + 1)))
    latents = random.exponential(size=(n, p)) * (random.random((n, p)) < 0.3)
    for class_ in range(n_classes):
        latents[:, class_] *= np.where(classes == class_, 2.0, random.random(n) < 0.5)
    latents[:, -1] = 0
    return (latents * 10.0 ** random.integers(-3, 4, p)).astype(np.float32), classes


def _saga(latents: npt.NDArray[np.float32], classes: Any, strength: float) -> Array:
    model = LogisticRegression(
        C=strength, l1_ratio=1.0, solver="saga", class_weight="balanced", max_iter=100_000, tol=1e-7, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(StandardScaler().fit_transform(latents.astype(np.float64)), classes)
    slopes: Array = model.coef_.T
    return slopes


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("strength", [0.1, 1.0])
def test_the_coefficients_are_those_of_a_saga_that_was_run_to_the_end(n_classes: int, strength: float) -> None:
    latents, classes = _texts(n_classes)
    slopes = _saga(latents, classes, strength)  # its intercepts end earlier: it stops by its slopes alone
    data = LabelledLatents.of(latents, 7 * classes - 3)  # classes may be any numbers
    found = fit_l1(data, strength, data.start(), 10_000, tolerance=1e-6)
    assert found.converged and found.slopes.any()
    np.testing.assert_allclose(found.slopes, slopes, atol=1e-4)


def _violation(latents: npt.NDArray[np.float32], classes: Any, fit: Coefficients, strength: float) -> float:
    """How far a solution is from a minimum, by autograd on dense standardised activations."""
    x = torch.from_numpy(StandardScaler().fit_transform(latents.astype(np.float64)))
    y = torch.from_numpy(np.unique(classes, return_inverse=True)[1])
    counts = torch.bincount(y)
    slopes = torch.from_numpy(fit.slopes).requires_grad_()
    intercepts = torch.from_numpy(fit.intercepts).requires_grad_()
    logits = x @ slopes + intercepts
    if len(counts) == 2:
        logits = F.pad(logits, (1, 0))
    weight = len(y) / (len(counts) * counts.double())
    loss = strength * F.cross_entropy(logits, y, weight=weight, reduction="sum")
    by_slope, by_intercept = torch.autograd.grad(loss, (slopes, intercepts))
    of_used = (by_slope + slopes.sign()).abs().where(slopes != 0, 0)
    of_unused = (by_slope.abs() - 1).clamp(min=0).where(slopes == 0, 0)
    return float(torch.cat([of_used.flatten(), of_unused.flatten(), by_intercept.abs()]).detach().max())


@pytest.mark.parametrize("n_classes", [2, 4, 30])
@pytest.mark.parametrize("strength", [0.05, 1.0])
def test_a_solution_fulfils_the_conditions_of_a_minimum(n_classes: int, strength: float) -> None:
    latents, classes = _texts(n_classes, seed=1, n=900, p=60)
    data = LabelledLatents.of(latents, classes)
    found = fit_l1(data, strength, data.start(), 10_000)
    assert found.converged
    assert _violation(latents, classes, found, strength) <= 1.01 * TOLERANCE
    assert _violation(latents, classes, data.start(), strength) > 0.1, "so do zeros"


def test_one_that_was_stopped_early_does_not_pass_for_one_that_converged() -> None:
    latents, classes = _texts(3)
    data = LabelledLatents.of(latents, classes)
    stopped = fit_l1(data, 1.0, data.start(), 3)
    assert not stopped.converged
    assert _violation(latents, classes, stopped, 1.0) > TOLERANCE
    unreachable = fit_l1(data, 1.0, data.start(), 10_000, tolerance=1e-20)  # rounding ends it, with no word of SciPy's
    assert not unreachable.converged


def test_a_start_elsewhere_ends_at_the_same_solution() -> None:
    latents, classes = _texts(3)
    data = LabelledLatents.of(latents, classes)
    zeros = fit_l1(data, 0.1, data.start(), 10_000, tolerance=1e-7)
    elsewhere = Coefficients(np.full_like(zeros.slopes, -2.0), np.array([1.0, -5.0, 3.0]))
    np.testing.assert_allclose(fit_l1(data, 0.1, elsewhere, 10_000, tolerance=1e-7).slopes, zeros.slopes, atol=1e-5)


def test_a_latent_that_is_dead_or_always_the_same_has_no_coefficient() -> None:
    latents, classes = _texts(3)
    latents[:, 1] = np.float32(0.1)
    data = LabelledLatents.of(latents, classes)
    found = fit_l1(data, 1.0, data.start(), 10_000)
    assert found.converged
    assert not found.slopes[[1, -1]].any() and found.slopes[[0, 2]].any()


def test_left_out_texts_are_standardised_and_weighed_as_all_together() -> None:
    latents, classes = _texts(3)
    data = LabelledLatents.of(latents, classes)
    rows = np.arange(0, len(classes), 5)
    fit = fit_l1(data, 0.1, data.start(), 10_000)
    x = StandardScaler().fit_transform(latents.astype(np.float64))
    said = (x[rows] @ fit.slopes + fit.intercepts).argmax(axis=1)
    assert data.at(rows).accuracy(fit) == np.mean(said == classes[rows])
    counts = np.bincount(classes)
    np.testing.assert_allclose(data.at(rows).weights, len(classes) / (3 * counts[classes[rows]]))
