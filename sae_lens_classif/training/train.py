"""Train a ClassifSAE on a store: from settings to weights, going on where a killed run stopped."""

import contextlib
import logging
import math
import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.saes.sae import SAEMetadata

from sae_lens_classif.artifacts import Artifact, settings_that_matter
from sae_lens_classif.checksums import write_json
from sae_lens_classif.config.run import SAESettings, TrainConfig
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.huggingface import pick_device
from sae_lens_classif.hooks.interventions import to_original_norm
from sae_lens_classif.saes.classif_sae import (
    ClassifTrainingSAE,
    ClassifTrainingSAEConfig,
    ClassifTrainStepInput,
    RunModel,
)
from sae_lens_classif.saes.concept_start import cluster_start
from sae_lens_classif.store.caching import check_made_by
from sae_lens_classif.store.shuffle import Rows
from sae_lens_classif.store.store import ActivationStore, RowSplit
from sae_lens_classif.training.trainer import ClassifSAETrainer, damage_of

logger = logging.getLogger(__name__)
LOG_FILE = "training_log.jsonl"
_CHECKPOINTS = "checkpoints"
_SETTINGS = "settings.json"
_MAX_CLUSTERED = 20_000  # texts; more would move no centre
_MAX_VALIDATED = 20_000  # more would tell no more, and a large store would be read over and over


def train_classifsae(
    store: ActivationStore,
    settings: SAESettings | None = None,
    train: TrainConfig | None = None,
    folder: str | Path | None = None,
    classifier: TextClassifier | None = None,
) -> ClassifTrainingSAE:
    """Train a ClassifSAE on the hidden states of a store.

    Args:
        store: Hidden states and predicted classes of the training texts.
        settings: The SAE and its loss. Default: those of the recipe ``robust``.
        train: How it is trained. Default: as long as in the paper.
        folder: Gets the log and the checkpoints; a killed training goes on from there. Default: nothing is written.
        classifier: The model that is explained, which the recipe ``robust`` runs on from the concepts; ``reference``
            does without.

    Returns:
        The trained SAE; its ``save(folder)`` writes what ``SAE.load_from_disk`` reads.

    Raises:
        UserError: If the settings do not fit each other or the store, they ask a classifier that is not given or is
            another than the store's, or the folder is of another training.
    """
    settings = (settings or SAESettings()).sized(store.n_classes, store.d_in, store.multi_label)
    train = (train or TrainConfig()).with_rates(settings.recipe, settings.concepts_for(store.n_classes))
    split = store.training_rows(train.validation_share, train.seed, train.data_share)
    if train.keep == "best" and not split.n_held_out:
        raise UserError(
            f"train.keep is best, but train.validation_share = {train.validation_share} of {len(store)} texts is none; "
            "make it larger, or set train.keep to last"
        )
    sae = new_training_sae(store, settings, train)
    run_model = _model_of(sae.cfg, store, classifier)
    folder = Path(folder) if folder is not None else None
    validate = partial(validation_measures, store=store, split=split, batch_size=train.batch_size, run_model=run_model)
    trainer = ClassifSAETrainer(
        trainer_config(train, folder, sae.cfg.device),
        sae,
        store.batches(train.batch_size, split),
        log_file=folder / LOG_FILE if folder else None,
        log_every=train.log_every,
        validate=validate if split.n_held_out else None,
        validate_every=math.ceil(train.total_steps / train.n_validations),
        checkpoint_every=math.ceil(train.total_steps / (train.n_checkpoints + 1)) if folder else 0,
        run_model=run_model,
        decoder_lr=float(train.decoder_lr),
    )
    if folder is not None:
        _claim(folder, made_from(store, settings, train))
        _resume(trainer, folder, store, split)
    with _wandb(train, settings):
        trainer.fit()
    if train.keep == "best":
        trainer.load_best_weights()
    return sae


def made_from(store: ActivationStore, settings: SAESettings, train: TrainConfig) -> dict[str, Any]:
    """Everything that the weights of a training depend on, as JSON can hold it."""
    sized = settings.sized(store.n_classes, store.d_in, store.multi_label)
    with_rates = train.with_rates(sized.recipe, sized.concepts_for(store.n_classes))
    return {"store": store.fingerprint(), "sae": asdict(sized), "train": settings_that_matter(with_rates)}


def new_training_sae(store: ActivationStore, settings: SAESettings, train: TrainConfig) -> ClassifTrainingSAE:
    """An untrained ClassifSAE that fits a store, with weights of the seed ``train.seed``.

    Raises:
        UserError: If the settings do not fit each other.
    """
    settings = settings.sized(store.n_classes, store.d_in, store.multi_label)
    cfg = ClassifTrainingSAEConfig(
        d_in=store.d_in,
        n_classes=store.n_classes,
        multi_label=store.multi_label,
        total_training_steps=train.total_steps,
        metadata=SAEMetadata(
            model_name=store.model_name,
            hook_name=store.hook_name,
            class_names=list(store.class_names),
            context_size=store.context_size,
            prepend_bos=store.prepend_bos,
            model_from_pretrained_kwargs={},
        ),
        **asdict(settings),
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(train.seed)
        sae = ClassifTrainingSAE(cfg)
    if settings.concept_init == "clusters":
        rows = _rows_of_start(store, train)
        states = sae.process_sae_in(store.rows("hidden", rows).float()).detach()
        groups = store.rule.groups(store.rows("predicted", rows), cfg.n_classes)
        sae.start_concepts_at(cluster_start(states, groups, cfg.n_concepts))
    return sae.to(str(pick_device(train.device)))  # drawn on the CPU: the same weights on every device


def _rows_of_start(store: ActivationStore, train: TrainConfig) -> Rows:
    """Texts whose clusters concepts start at: those held out, too, so that every seed starts at the same."""
    split = store.training_rows(0.0, train.seed, train.data_share)
    rows = np.sort(split.training(np.arange(split.n_training)))
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), _MAX_CLUSTERED)).astype(np.int64)]


def _model_of(
    cfg: ClassifTrainingSAEConfig, store: ActivationStore, classifier: TextClassifier | None
) -> RunModel | None:
    """What runs the model on from the concepts, each state a sequence of one token; None where no term asks it."""
    if not cfg.asks_model:
        return None
    if classifier is None:
        raise UserError(
            f"sae.recipe {cfg.recipe} runs the classifier on from the concepts: give it, as in "
            "train_classifsae(store, classifier=classifier), or use the recipe reference"
        )
    check_made_by(store, classifier)

    def run_model(decoded: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        return classifier.logits_from(to_original_norm(decoded, hidden))

    return run_model


def trainer_config(train: TrainConfig, folder: Path | None, device: str) -> SAETrainerConfig:
    """SAELens' own settings of a training whose rates are known; checkpoints go into a folder, if one is given."""
    return SAETrainerConfig(
        total_training_samples=train.total_steps * train.batch_size,
        train_batch_size_samples=train.batch_size,
        lr=float(train.encoder_lr),
        lr_end=train.lr_end,
        lr_scheduler_name="cosineannealing",
        dead_feature_window=train.dead_after_steps,
        device=device,
        checkpoint_path=str(folder / _CHECKPOINTS) if folder else None,
        logger=LoggingConfig(log_to_wandb=train.wandb_project is not None, wandb_project=train.wandb_project or ""),
    )


def _claim(folder: Path, asked: dict[str, Any]) -> None:
    """Note what is trained here, or refuse a folder in which something else was begun."""
    note = folder / _SETTINGS
    Artifact(folder, note, asked).is_current("it is an unfinished training; delete it, or use another run folder")
    write_json(note, asked)


def _resume(trainer: ClassifSAETrainer, folder: Path, store: ActivationStore, split: RowSplit) -> None:
    """Go on from the newest checkpoint; a damaged one is dropped, and the weights are found again."""
    whole = [path for path in (folder / _CHECKPOINTS).glob("*") if path.name.isdecimal()]
    newest = max(whole, key=lambda path: int(path.name), default=None)
    damage = damage_of(newest) if newest is not None else None
    if newest is not None and damage is not None:
        logger.warning("%s: the training begins anew", damage)
        shutil.rmtree(newest)
        newest = None
    if newest is None:
        (folder / LOG_FILE).unlink(missing_ok=True)
        return
    trainer.resume(newest)
    n_steps = trainer.cfg.total_training_samples // trainer.cfg.train_batch_size_samples
    logger.info("SAE: going on at step %d of %d", trainer.n_training_steps, n_steps)
    trainer.data_provider = store.batches(trainer.cfg.train_batch_size_samples, split, trainer.n_training_samples)


@torch.no_grad()
def validation_measures(
    sae: ClassifTrainingSAE, store: ActivationStore, split: RowSplit, batch_size: int, run_model: RunModel | None = None
) -> dict[str, float]:
    """Loss terms on the held-out states, at most 20,000 of them, and ``loss``: their sum with the configured weights.

    The weights are those at the start of the schedule, so that the losses of different steps compare.

    Args:
        sae: The present weights.
        store: Where the states are.
        split: Which of them are held out.
        batch_size: States a batch; the activation-rate term depends on it.
        run_model: Runs the model from the concepts, where the loss asks it.
    """
    totals: dict[str, float] = {}
    n_states = min(split.n_held_out, _MAX_VALIDATED)
    for batch in store.held_out_batches(batch_size, split, n_states):
        batch = batch.to(sae.device)
        step_input = ClassifTrainStepInput(
            sae_in=batch[:, : store.d_in],
            predicted=store.rule.from_columns(batch[:, store.d_in :]),
            run_model=run_model,
            coefficients={},
            dead_neuron_mask=None,
            n_training_steps=0,
            is_logging_step=False,
        )
        output = sae.training_forward_pass(step_input)
        values: dict[str, Any] = {"loss": output.loss, **output.losses, **output.metrics}
        for name, value in values.items():
            totals[name] = totals.get(name, 0.0) + float(value) * len(batch) / n_states
    return totals


def _wandb(train: TrainConfig, settings: SAESettings) -> contextlib.AbstractContextManager[Any]:
    if train.wandb_project is None:
        return contextlib.nullcontext()
    import wandb

    return wandb.init(project=train.wandb_project, config={"sae": asdict(settings), "train": asdict(train)})
