"""Losses and every gradient against ``losses.*``, relative 1e-5."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sae_lens.saes.sae import TrainStepOutput

from sae_lens_classif import ClassifTrainingSAE, ClassifTrainingSAEConfig
from sae_lens_classif.saes.classif_sae import ClassifTrainStepInput

WEIGHTS = ("W_enc", "W_dec", "b_enc", "b_dec", "classifier_weight", "classifier_bias")
RELATIVE = 1e-5
_HALF = 10


def _sae(case: dict[str, Any], tensors: dict[str, torch.Tensor]) -> ClassifTrainingSAE:
    sae = ClassifTrainingSAE(
        ClassifTrainingSAEConfig(
            dtype="float64",
            d_in=case["d_in"],
            d_sae=case["d_sae"],
            n_classes=case["n_classes"],
            n_concepts=case["n_class_features"],
            k=case["k"],
            gamma=case["gamma"],
            normalize_activations=case["normalize_activations"],
            dead_latent_loss="ghost" if case["ghost_grads"] else "none",
            mse_coefficient=case["coefficients"]["mse"],
            activation_rate_coefficient=case["coefficients"]["activation_rate"],
            classifier_coefficient=case["coefficients"]["classifier"],
            total_training_steps=2 * _HALF,
        )
    )
    sae.load_state_dict({name: tensors[name] for name in WEIGHTS})
    return sae


def _step(case: dict[str, Any], tensors: dict[str, torch.Tensor], sae: ClassifTrainingSAE) -> TrainStepOutput:
    step = _HALF if case["reconstruction_detaches_z_class"] else 0
    dead = tensors["dead_mask"].bool()
    return sae.training_forward_pass(ClassifTrainStepInput(tensors["x"], {}, dead, step, False, tensors["y"]))


def _assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    scale = float(theirs.abs().max())
    torch.testing.assert_close(ours, theirs, rtol=RELATIVE, atol=RELATIVE * scale)


def test_every_loss_and_gradient_equals_the_reference(reference: Callable[[str], Any]) -> None:
    cases, everything = reference("losses")
    assert cases
    for case in cases:
        prefix = case["case"] + "."
        tensors = {name.removeprefix(prefix): value for name, value in everything.items() if name.startswith(prefix)}
        sae = _sae(case, tensors)
        output = _step(case, tensors, sae)
        output.loss.backward()
        _assert_close(output.feature_acts.detach(), tensors["feature_acts"])
        _assert_close(output.sae_out.detach(), tensors["sae_out"])
        expected = {
            "mse_loss": case["mse_loss"],
            "activation_rate_loss": case["activation_rate_loss"],
            "classifier_loss": case["classifier_loss"],
            "ghost_gradient_loss": case["ghost_grad_loss"],
        }
        for name, value in expected.items():
            ours = output.losses.get(name, torch.tensor(0.0)).item()
            assert ours == pytest.approx(value, rel=RELATIVE), (case["case"], name)
        assert output.loss.item() == pytest.approx(case["loss"], rel=RELATIVE), case["case"]
        for name in WEIGHTS:
            _assert_close(getattr(sae, name).grad, tensors[f"grad_{name}"])
