"""The steps of a run, each from the files of the one before: finetune, cache, train, evaluate."""

import logging
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from sae_lens_classif.artifacts import Artifact, note_files
from sae_lens_classif.checksums import read_tensors, sha256_of_json, write_tensors
from sae_lens_classif.data.texts import Split, TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.base import needs_of
from sae_lens_classif.evals.embeddings import embed_texts
from sae_lens_classif.evals.evaluate import evaluate
from sae_lens_classif.evals.results import Measures
from sae_lens_classif.files import explain_full_disk, new_folder
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.huggingface import pick_device
from sae_lens_classif.hooks.load import save_classifier
from sae_lens_classif.hooks.tuning.checkpoints import unfinished
from sae_lens_classif.hooks.tuning.finetune import finetune
from sae_lens_classif.hooks.tuning.finetune import made_from as tuned_from
from sae_lens_classif.hub import hub_name
from sae_lens_classif.methods.base import ConceptMethod
from sae_lens_classif.runs.figures import draw_method
from sae_lens_classif.runs.folder import SETTINGS_FILE, RunFolder
from sae_lens_classif.runs.results import (
    drop_damaged_effects,
    drop_outdated,
    is_in_summary,
    read_measures,
    read_summary,
    update_summary,
    write_evaluation,
)
from sae_lens_classif.runs.run_classifier import open_run_classifier
from sae_lens_classif.runs.run_method import check_concepts, evaluation_settings, load_fitted, measured
from sae_lens_classif.store.caching import cache_states
from sae_lens_classif.store.store import ActivationStore
from sae_lens_classif.training.train import LOG_FILE, made_from, train_classifsae

logger = logging.getLogger(__name__)


def check_sizes(run: RunFolder) -> None:
    """Say, before any work is done, where the number of concepts does not go with the task."""
    n_classes = len(run.texts("train").class_names)
    n_concepts = run.cfg.sae.concepts_for(n_classes)
    if n_concepts < n_classes:
        logger.warning(
            "sae.n_concepts is %d, fewer than the %d classes: no concept can speak for each of them, and few decisions "
            "will come back through the concepts; use at least %d, or auto",
            n_concepts, n_classes, n_classes,
        )  # fmt: skip
    made_here = run.cfg.classifier.model is None and run.cfg.finetune.base_model == "scratch"
    if made_here and n_concepts > run.cfg.finetune.d_model:
        logger.warning(
            "sae.n_concepts is %d, more than the width of the model (finetune.d_model %d): concepts will point alike, "
            "and ICA finds no more than the width; use fewer, or a wider model",
            n_concepts, run.cfg.finetune.d_model,
        )  # fmt: skip


def finetune_step(run: RunFolder) -> None:
    """Make ``classifier/``, or go on where a killed run stopped; not where the settings name one of the user's own."""
    if run.cfg.classifier.model is not None:
        logger.info("classifier: %s, as classifier.model says", run.cfg.classifier.model)
        return
    data = run.texts("train")
    asked = tuned_from(run.cfg.finetune, run.cfg.prompt, data)
    if run.is_current(Artifact(run.classifier, run.classifier / SETTINGS_FILE, asked)):
        logger.info("classifier: reusing %s", run.classifier)
        shutil.rmtree(run.tuning, ignore_errors=True)
        return
    run.is_current(unfinished(run.tuning, asked))  # or refused, or, to be made anew, deleted
    device = pick_device(run.cfg.classifier.device)
    logger.info("classifier: training on %d texts", len(data))
    model, tokenizer = finetune(run.cfg.finetune, run.cfg.prompt, data, device, run.tuning)
    with new_folder(run.classifier) as folder:
        save_classifier(folder, model, tokenizer, run.cfg.prompt, data.class_names, data.multi_label)
        note_files(folder / SETTINGS_FILE, asked)
    shutil.rmtree(run.tuning, ignore_errors=True)


def cache_step(run: RunFolder, classifier: TextClassifier | None = None) -> None:
    """Make ``activations/train`` and ``activations/test``, or go on where a killed run stopped.

    Args:
        run: The run folder.
        classifier: The model that is explained, if it is open already.
    """
    classifier = classifier or open_run_classifier(run)
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        cache_states(classifier, run.texts(split), run.activations(split), run.cfg.cache, run.is_current)


def train_step(run: RunFolder) -> None:
    """Make ``saes/classifsae`` from ``activations/train``, or go on where a killed run stopped."""
    store = ActivationStore(run.activations("train"))
    asked = made_from(store, run.cfg.sae, run.cfg.train)
    if run.is_current(Artifact(run.sae, run.sae / SETTINGS_FILE, asked)):
        logger.info("SAE: reusing %s", run.sae)
        shutil.rmtree(run.training, ignore_errors=True)
        return
    store.verify()
    with explain_full_disk(run.training):
        needs_model = run.cfg.sae.sized(store.n_classes, store.d_in, store.multi_label).asks_model
        classifier = open_run_classifier(run) if needs_model else None
        sae = train_classifsae(store, run.cfg.sae, run.cfg.train, run.training, classifier)
    with new_folder(run.sae) as folder:
        sae.save(folder)
        shutil.copyfile(run.training / LOG_FILE, folder / LOG_FILE)
        note_files(folder / SETTINGS_FILE, asked)
    shutil.rmtree(run.training)


def evaluate_step(run: RunFolder) -> dict[str, Any]:
    """Make ``evals/classifsae/*.json``, ``summary.json`` and ``figures/`` from ``activations/test`` and the SAE.

    Returns:
        The summary.
    """
    of, split = load_fitted(run), TestSplit(run)
    measures = evaluate_method(run, of.method, of.weights, of.name, of.evaluations, split)
    if run.cfg.evaluate.figures:
        draw_method(run, of.name, of.title, of.method, measures, split.store)
    summary = read_summary(run)
    check_concepts(run, of, split.store, measured(run, of, summary))
    return summary


class TestSplit:
    """The test texts of a run and what belongs to them, each loaded when it is first needed."""

    __test__ = False  # no test of pytest's

    def __init__(self, run: RunFolder, classifier: TextClassifier | None = None) -> None:
        """
        Args:
            run: The run folder; holds ``activations/test``.
            classifier: The model that is explained, if it is open already.
        """
        self._run = run
        self._classifier = classifier
        self.store = ActivationStore(run.activations("test"))

    @cached_property
    def data(self) -> TextData:
        """The texts, after their hidden states were found to be what `cache` wrote."""
        self.store.verify()
        return self._run.texts("test")

    @cached_property
    def classifier(self) -> TextClassifier:
        """The model that is explained."""
        return self._classifier or open_run_classifier(self._run)

    @cached_property
    def embeddings(self) -> torch.Tensor:
        """Sentence embeddings, float32 (N, e), kept on disk for the next run."""
        return embed_and_keep(self._run, self.data)


def embed_and_keep(
    run: RunFolder, data: TextData, encoder: str | None = None, device: str | None = None
) -> torch.Tensor:
    """Sentence embeddings of texts, float32 (N, e), read from the run folder where they are there already.

    Args:
        run: The run folder.
        data: The texts.
        encoder: A folder or a name on the Hub. Default: what ``evaluate`` uses, and where.
        device: Where another encoder runs.
    """
    if encoder is None:
        encoder, device = run.cfg.evaluate.sentence_encoder, run.cfg.evaluate.device
    key = sha256_of_json([data.fingerprint(), encoder])
    file = run.embeddings / f"{key[:16]}.safetensors"
    kept = _kept_embeddings(file, len(data), key) if file.is_file() else None
    if kept is not None:
        return kept
    logger.info("sentence embeddings: %d texts by %s", len(data), encoder)
    embeddings = embed_texts(data.texts, encoder, device)
    write_tensors(file, {"embeddings": embeddings}, {"of": key})
    return embeddings


def _kept_embeddings(file: Path, n_texts: int, key: str) -> torch.Tensor | None:
    """What was kept of texts and an encoder, or None where that is damaged; earlier versions did not note of which."""
    try:
        tensors, notes = read_tensors(file)
        embeddings = tensors["embeddings"]
        if (
            notes.get("of", key) == key
            and embeddings.ndim == 2
            and len(embeddings) == n_texts
            and embeddings.isfinite().all()
        ):
            return embeddings
        reason = f"{file} does not hold a finite embedding for each of these {n_texts} texts"
    except (UserError, KeyError) as error:
        reason = str(error)
    logger.warning("%s; the embeddings are made anew", reason)
    return None


def evaluate_method(
    run: RunFolder,
    method: ConceptMethod,
    weights: str,
    name: str,
    folder: Path,
    split: TestSplit,
    in_summary: bool = True,
) -> dict[str, Measures]:
    """Measure a fitted method on the test texts, or read what was measured before.

    Args:
        run: The run folder.
        method: The fitted method.
        weights: SHA-256 of what it learned.
        name: Its name.
        folder: Where its results belong.
        split: The test texts.
        in_summary: Whether its numbers go into ``summary.json``.

    Returns:
        One ``Measures`` for each evaluation; none where the method gave NaN.
    """
    cfg = run.cfg.evaluate
    settings = evaluation_settings(run, weights, split.store)
    known = {} if drop_damaged_effects(folder) else read_measures(folder, settings, to_measure=True)
    if in_summary:
        drop_outdated(run)
    is_noted = not in_summary or is_in_summary(run, name, settings)
    if set(cfg.evals) <= known.keys() and is_noted:
        logger.info("evaluations: reusing %s", folder)
        return known
    logger.info("evaluations: %s of %s on %d test texts", ", ".join(cfg.evals), name, len(split.store))
    classifier = split.classifier  # first: what cannot be opened is said before any work
    embeddings = split.embeddings if "embeddings" in needs_of(cfg.evals) else None
    evaluation = evaluate(method, classifier, split.store, split.data, cfg, embeddings, known)
    sae = method.autoencoder()
    write_evaluation(
        folder,
        evaluation,
        cfg,
        settings=settings,
        method=name,
        release=run.folder.resolve().name,
        sae_cfg=sae.cfg.to_dict() if sae is not None else {},
    )
    if in_summary:
        run.remove("report.*html")
        update_summary(run, name, evaluation, _about(run, split), settings, cfg.context)
    return evaluation.measures


def _about(run: RunFolder, split: TestSplit) -> dict[str, Any]:
    store = split.store
    classifier, is_made_here = run.cfg.classifier.model, run.cfg.classifier.model is None
    return {
        "run": run.folder.resolve().name,
        "model": store.model_name,
        "hook": store.hook_name,
        "read_at": split.classifier.read_at,
        "data": run.cfg.data.source,
        "class_names": list(store.class_names),
        "multi_label": store.multi_label,
        "n_test_texts": len(store),
        "prompt": split.classifier.inputs.described(),
        # What strangers know them by, found out while the local folders are where the settings say.
        "hub_names": {
            "model": hub_name(classifier),
            "base_model": hub_name(run.cfg.finetune.base_model) if is_made_here else None,
            "data": hub_name(run.cfg.data.source),
        },
    }


MAKING = (check_sizes, finetune_step, cache_step, train_step)  # what a run is made by, before it is measured
