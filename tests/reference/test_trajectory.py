"""Thirty steps of training against ``trajectory.*``: weights to 1e-5, the losses on the way too."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens.config import SAETrainerConfig

from sae_lens_classif import ClassifSAETrainer, ClassifTrainingSAE, ClassifTrainingSAEConfig

_LOSSES = {"mse": "mse_loss", "act": "activation_rate_loss", "cls": "classifier_loss", "loss": "overall_loss"}


def _trainer(settings: dict[str, Any], tensors: dict[str, torch.Tensor], log: Path) -> ClassifSAETrainer:
    assert 2 * settings["z_class_detached_from_step"] == settings["steps"]
    sae = ClassifTrainingSAE(
        ClassifTrainingSAEConfig(
            dtype="float64",
            d_in=settings["d_in"],
            d_sae=settings["d_sae"],
            n_classes=settings["n_classes"],
            n_concepts=settings["n_class_features"],
            k=settings["k"],
            gamma=settings["gamma"],
            normalize_activations=settings["normalize_activations"],
            mse_normalization=settings["mse_normalisation"],
            mse_coefficient=settings["coefficients"]["mse"],
            activation_rate_coefficient=settings["coefficients"]["activation_rate"],
            classifier_coefficient=settings["coefficients"]["classifier"],
            dead_latent_loss="none",
            total_training_steps=settings["steps"],
        )
    )
    sae.load_state_dict(
        {name.removeprefix("init."): value for name, value in tensors.items() if name.startswith("init.")}
    )
    cfg = SAETrainerConfig(
        total_training_samples=settings["batch"] * settings["steps"],
        train_batch_size_samples=settings["batch"],
        lr=settings["lr"],
        lr_end=settings["lr_end"],
        lr_scheduler_name="cosineannealing",
        adam_beta1=settings["adam_betas"][0],
        adam_beta2=settings["adam_betas"][1],
    )
    batches = torch.cat([tensors["X"], tensors["Y"][:, None].double()], dim=1).split(settings["batch"])
    return ClassifSAETrainer(cfg, sae, iter(batches), log_file=log, log_every=1)


def test_thirty_steps_end_at_the_reference_weights(reference: Callable[[str], Any], tmp_path: Path) -> None:
    settings, tensors = reference("trajectory")
    log = tmp_path / "log.jsonl"
    sae = _trainer(settings, tensors, log).fit()
    for name, value in tensors.items():
        if name.startswith("final."):
            ours = getattr(sae, name.removeprefix("final.")).detach()
            torch.testing.assert_close(ours, value, rtol=0, atol=1e-5)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == settings["steps"]
    for line, expected in zip(lines, settings["log"], strict=True):
        assert line["step"] == expected["step"]
        for theirs, ours in _LOSSES.items():
            assert line[f"losses/{ours}"] == pytest.approx(expected[theirs], rel=1e-4)
