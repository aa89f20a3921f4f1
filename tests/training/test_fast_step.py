"""The fast step beside SAELens' own, on the same weights and batches."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from sae_lens import SAETrainer
from sae_lens.config import SAETrainerConfig

from sae_lens_classif import ClassifSAETrainer, ClassifTrainingSAE, ClassifTrainingSAEConfig
from sae_lens_classif.saes.classif_sae import ClassifTrainStepInput

_STEPS, _BATCH, _D_IN, _CLASSES = 12, 32, 12, 3


def _sae(**changes: Any) -> ClassifTrainingSAE:
    torch.manual_seed(0)
    settings = {"d_sae": 60, "k": 3, "n_concepts": 6, "dtype": "float64", **changes}
    return ClassifTrainingSAE(
        ClassifTrainingSAEConfig(d_in=_D_IN, n_classes=_CLASSES, total_training_steps=_STEPS, **settings)
    )


def _cfg() -> SAETrainerConfig:
    return SAETrainerConfig(
        total_training_samples=_STEPS * _BATCH,
        train_batch_size_samples=_BATCH,
        lr=1e-2,
        lr_end=1e-4,
        lr_scheduler_name="cosineannealing",
        dead_feature_window=3,
    )


def _batches(scale: float) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(_STEPS):
        hidden = torch.randn(_BATCH, _D_IN, generator=generator, dtype=torch.float64) * scale
        label = torch.randint(_CLASSES, (_BATCH, 1), generator=generator)
        yield torch.cat([hidden, label.double()], dim=1)


def _steps_of_saelens(sae: ClassifTrainingSAE, scale: float, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[Any]]:
    """SAELens' trainer and step as they are; the labels come with the step's input, as it is made."""
    trainer: SAETrainer[Any, Any] = SAETrainer(_cfg(), sae, iter(()))
    if sae.cfg.unit_norm_decoder:
        sae.W_dec.register_post_accumulate_grad_hook(lambda _: sae.remove_gradient_parallel_to_decoder_directions())
    losses = []
    for batch in _batches(scale):
        if sae.cfg.unit_norm_decoder:
            sae.set_decoder_norm_to_unit_norm()
        labelled = partial(ClassifTrainStepInput, predicted=batch[:, -1].long())
        monkeypatch.setattr("sae_lens.training.sae_trainer.TrainStepInput", labelled)
        losses.append(trainer._train_step(sae, batch[:, :-1]).loss.item())
        trainer.n_training_steps += 1
    return trainer, losses


@pytest.mark.parametrize("changes", [{}, {"dead_latent_loss": "none"}, {"unit_norm_decoder": False}], ids=str)
@pytest.mark.parametrize("scale", [0.1, 30.0])  # gradients below and above the norm at which they are clipped
def test_it_does_what_saelens_own_step_does(
    changes: dict[str, Any], scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = _sae(**changes), _sae(**changes)
    their_trainer, their_losses = _steps_of_saelens(theirs, scale, monkeypatch)
    our_trainer = ClassifSAETrainer(_cfg(), ours, iter(()))
    our_losses = []
    for batch in _batches(scale):
        our_losses.append(our_trainer.step(batch).loss.item())
        our_trainer.n_training_steps += 1
    assert our_losses == pytest.approx(their_losses, rel=1e-9)
    assert our_losses[0] != pytest.approx(our_losses[-1], rel=1e-3), "nothing was learned"
    for name, weight in theirs.named_parameters():
        torch.testing.assert_close(dict(ours.named_parameters())[name], weight, rtol=1e-9, atol=1e-9)
    assert their_trainer.dead_neurons.any(), "no latent is dead, so nothing is shown of those"
    for counter in ("act_freq_scores", "n_forward_passes_since_fired", "n_frac_active_samples"):
        assert torch.equal(
            torch.as_tensor(getattr(our_trainer, counter)), torch.as_tensor(getattr(their_trainer, counter))
        )


def test_a_step_without_labels_is_refused_where_the_head_is_trained() -> None:
    from sae_lens.saes.sae import TrainStepInput

    step_input = TrainStepInput(torch.zeros(2, _D_IN, dtype=torch.float64), {}, None, 0, False)
    with pytest.raises(TypeError, match=r"ClassifTrainStepInput, .*TrainStepInput"):
        _sae().training_forward_pass(step_input)


def test_decoder_and_head_may_learn_at_a_rate_of_their_own() -> None:
    trainer = ClassifSAETrainer(_cfg(), _sae(), _batches(1.0), decoder_lr=3e-2)
    before = {name: weight.detach().clone() for name, weight in trainer.sae.named_parameters()}
    rates = {id(weight): group["lr"] for group in trainer.optimizer.param_groups for weight in group["params"]}
    for name, weight in trainer.sae.named_parameters():
        assert rates[id(weight)] == (trainer.cfg.lr if name in ("W_enc", "b_enc") else 3e-2)
    trainer.fit()
    assert all(not torch.equal(weight, before[name]) for name, weight in trainer.sae.named_parameters())
    ends = [group["lr"] for group in trainer.optimizer.param_groups]
    assert ends == pytest.approx([trainer.cfg.lr_end] * 2)
