"""``ClassifSAETrainer`` beside SAELens' own trainer."""

import itertools
from collections.abc import Iterator

import pytest
import torch
from sae_lens import SAETrainer, TopKTrainingSAE, TopKTrainingSAEConfig
from sae_lens.config import SAETrainerConfig

from sae_lens_classif import ClassifSAETrainer, ClassifTrainingSAE, ClassifTrainingSAEConfig
from sae_lens_classif.errors import UserError

_STEPS, _BATCH, _D_IN = 40, 32, 12


def _batches() -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    for _ in itertools.count():
        yield torch.randn(_BATCH, _D_IN, generator=generator) * 3


def _labelled() -> Iterator[torch.Tensor]:
    for batch in _batches():
        yield torch.cat([batch, (batch[:, :1] > 0).float()], dim=1)


def _trainer_config(dead_feature_window: int = 5) -> SAETrainerConfig:
    return SAETrainerConfig(
        total_training_samples=_STEPS * _BATCH,
        train_batch_size_samples=_BATCH,
        lr=1e-3,
        lr_end=1e-5,
        lr_scheduler_name="cosineannealing",
        dead_feature_window=dead_feature_window,
    )


def test_without_rate_and_head_it_is_saelens_own_topk() -> None:
    own = TopKTrainingSAE(
        TopKTrainingSAEConfig(d_in=_D_IN, d_sae=60, k=3, apply_b_dec_to_input=True, normalize_activations="none")
    )
    ours = ClassifTrainingSAE(
        ClassifTrainingSAEConfig(
            d_in=_D_IN,
            d_sae=60,
            k=3,
            n_classes=2,
            total_training_steps=_STEPS,
            mse_coefficient=1.0,
            activation_rate_coefficient=0.0,
            classifier_coefficient=0.0,
            dead_latent_loss="aux",
            mse_normalization="none",
            normalize_activations="none",
            apply_b_dec_to_input=True,
            rescale_acts_by_decoder_norm=True,
            unit_norm_decoder=False,
            decoder_init_norm=0.1,
        )
    )
    ours.load_state_dict(own.state_dict(), strict=False)
    SAETrainer(_trainer_config(dead_feature_window=0), own, _batches()).fit()
    trainer = ClassifSAETrainer(_trainer_config(dead_feature_window=0), ours, _labelled())
    trainer.fit()
    assert trainer.dead_neurons.any(), "the auxiliary loss must have been at work"
    for name, weight in own.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], weight, rtol=0, atol=1e-6)


def _classif_sae() -> ClassifTrainingSAE:
    torch.manual_seed(0)
    return ClassifTrainingSAE(
        ClassifTrainingSAEConfig(d_in=_D_IN, d_sae=60, k=3, n_classes=2, total_training_steps=_STEPS)
    )


def test_decoder_rows_have_unit_norm_and_their_gradient_no_component_along_them() -> None:
    sae = _classif_sae()
    seen = []
    trainer = ClassifSAETrainer(_trainer_config(), sae, _labelled())

    def look(*_: object) -> None:
        assert sae.W_dec.grad is not None
        seen.append((sae.W_dec.grad * sae.W_dec).sum(dim=-1).abs().max().item())

    trainer.optimizer.register_step_pre_hook(look)
    trainer.fit()
    assert len(seen) == _STEPS and max(seen) < 1e-6
    torch.testing.assert_close(sae.W_dec.norm(dim=-1), torch.ones(60))


def test_the_head_learns_the_predicted_class() -> None:
    sae = _classif_sae()
    cfg = _trainer_config()
    cfg.lr = 3e-2
    ClassifSAETrainer(cfg, sae, _labelled()).fit()
    batch = next(_labelled())
    predicted = sae.classify(sae.encode(batch[:, :-1])).argmax(dim=-1)
    assert (predicted == batch[:, -1]).float().mean() > 0.8


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.zeros(4, _D_IN), rf"{_D_IN} columns; .*{_D_IN + 1}"),
        (torch.full((4, _D_IN + 1), 2.0), r"classes .*2\.\.2; .*0\.\.1"),
        (torch.full((4, _D_IN + 1), -1.0), r"classes .*-1\.\.-1"),
        (torch.cat([torch.full((4, _D_IN), torch.nan), torch.zeros(4, 1)], dim=1), "not finite"),
    ],
)
def test_batches_that_cannot_be_trained_on_are_refused(batch: torch.Tensor, message: str) -> None:
    trainer = ClassifSAETrainer(_trainer_config(), _classif_sae(), _labelled())
    with pytest.raises(UserError, match=message):
        trainer.step(batch)
