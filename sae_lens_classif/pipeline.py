"""The steps of a run, each from the files of the one before: finetune, cache, train, evaluate."""

import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors.torch import load_file, save_file

from sae_lens_classif.caching import cache_states
from sae_lens_classif.config import EvalName, EvaluateConfig, PromptConfig
from sae_lens_classif.data import Split, TextData, load_text_data
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.embeddings import embed_texts
from sae_lens_classif.evals.results import Measures, saebench_result
from sae_lens_classif.evaluating import Evaluation, evaluate
from sae_lens_classif.files import (
    explain_full_disk,
    new_folder,
    read_json,
    sha256_of_file,
    sha256_of_json,
    write_json,
)
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.finetune import finetune
from sae_lens_classif.hooks.loading import pick_device
from sae_lens_classif.hooks.open_classifier import CLASSIFIER_FILE, load_classifier, save_classifier
from sae_lens_classif.run_folder import METHOD, RunFolder
from sae_lens_classif.sae import ClassifSAE
from sae_lens_classif.store import ActivationStore
from sae_lens_classif.summary import is_up_to_date, update_summary
from sae_lens_classif.training import LOG_FILE, made_from, train_classifsae

logger = logging.getLogger(__name__)
_SETTINGS = "runner_cfg.json"  # the name under which SAELens' uploader takes a training's settings along


def finetune_step(run: RunFolder) -> None:
    """Make ``classifier/``, unless it is there or the settings name a classifier of the user's own."""
    if run.cfg.classifier.model is not None:
        logger.info("classifier: %s, as classifier.model says", run.cfg.classifier.model)
        return
    data = load_text_data(run.cfg.data, "train")
    asked = {
        "data": data.fingerprint(),
        "prompt": asdict(run.cfg.prompt),
        "finetune": asdict(run.cfg.finetune),
    }
    if _is_made(run, run.classifier, asked):
        logger.info("classifier: reusing %s", run.classifier)
        return
    device = pick_device(run.cfg.classifier.device)
    logger.info("classifier: training on %d texts", len(data))
    model, tokenizer = finetune(run.cfg.finetune, run.cfg.prompt, data, device)
    with new_folder(run.classifier) as folder:
        save_classifier(folder, model, tokenizer, run.cfg.prompt, data.class_names)
        write_json(folder / _SETTINGS, asked)


def _is_made(run: RunFolder, result: Path, asked: dict[str, Any]) -> bool:
    return (result / _SETTINGS).is_file() and run.check_made_from(result, read_json(result / _SETTINGS), asked)


def open_run_classifier(run: RunFolder) -> TextClassifier:
    """Open the model that a run explains.

    Raises:
        UserError: If there is none yet.
    """
    cfg = run.cfg.classifier
    if cfg.model is not None:
        class_names = load_text_data(run.cfg.data, "test").class_names
        # A folder that `finetune` made knows its own prompt; one that was not asked for is not held against it.
        own = (Path(cfg.model) / CLASSIFIER_FILE).is_file() and run.cfg.prompt == PromptConfig()
        prompt = None if own else run.cfg.prompt
        return load_classifier(cfg.model, class_names, prompt, cfg.hook, cfg.dtype, cfg.device)
    if not (run.classifier / CLASSIFIER_FILE).is_file():
        raise UserError(
            f"{run.classifier} holds no classifier; run the step `finetune`, or set classifier.model to your own"
        )
    name = f"{run.folder.resolve().name}/{run.classifier.name}"
    return load_classifier(run.classifier, hook=cfg.hook, dtype=cfg.dtype, device=cfg.device, name=name)


def cache_step(run: RunFolder) -> None:
    """Make ``activations/train`` and ``activations/test``, or go on where a killed run stopped."""
    classifier = open_run_classifier(run)
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        data = load_text_data(run.cfg.data, split)
        cache_states(classifier, data, run.activations(split), run.cfg.cache)


def train_step(run: RunFolder) -> None:
    """Make ``saes/classifsae`` from ``activations/train``, or go on where a killed run stopped."""
    store = ActivationStore(run.activations("train"))
    asked = made_from(store, run.cfg.sae, run.cfg.train)
    if _is_made(run, run.sae, asked):
        logger.info("SAE: reusing %s", run.sae)
        shutil.rmtree(run.training, ignore_errors=True)
        return
    store.verify()
    with explain_full_disk(run.training):
        sae = train_classifsae(store, run.cfg.sae, run.cfg.train, run.training)
    with new_folder(run.sae) as folder:
        sae.save(folder)
        shutil.copyfile(run.training / LOG_FILE, folder / LOG_FILE)
        write_json(folder / _SETTINGS, asked)
    shutil.rmtree(run.training)


def evaluate_step(run: RunFolder) -> dict[str, Any]:
    """Make ``evals/classifsae/*.json`` and ``summary.json`` from ``activations/test`` and the SAE.

    Returns:
        The summary.
    """
    if not (run.sae / _SETTINGS).is_file():
        raise UserError(f"{run.sae} holds no trained SAE; run the step `train` first")
    store = ActivationStore(run.activations("test"))
    cfg = run.cfg.evaluate
    settings = sha256_of_json(
        {
            "evaluate": {**asdict(cfg), "device": None, "evals": None, "batch_size": None},
            "sae": sha256_of_file(run.sae / "sae_weights.safetensors"),
            "store": store.fingerprint(),
        }
    )
    known = _known_results(run, settings)
    if set(cfg.evals) <= known.keys() and is_up_to_date(run.summary, METHOD, settings):
        logger.info("evaluations: reusing %s", run.summary)
        summary: dict[str, Any] = read_json(run.summary)
        return summary
    store.verify()
    data = load_text_data(run.cfg.data, "test")
    sae = ClassifSAE.load_from_disk(run.sae, device=str(pick_device(cfg.device)))
    embeddings = _embeddings(run, data, cfg) if "interpretability" in cfg.evals else None
    evaluation = evaluate(sae, open_run_classifier(run), store, data, cfg, embeddings, known)
    _write_results(run, evaluation, sae, settings)
    about = {
        "run": run.folder.resolve().name,
        "model": store.model_name,
        "hook": store.hook_name,
        "data": run.cfg.data.source,
        "class_names": list(store.class_names),
        "n_test_texts": len(store),
    }
    return update_summary(run.summary, METHOD, evaluation, about, settings, cfg.context)


def _known_results(run: RunFolder, settings: str) -> dict[str, Measures]:
    """Results on disk that were made with the same settings, of whichever evaluations."""
    found = {}
    for name in get_args(EvalName):
        if run.evaluation(name).is_file():
            result = read_json(run.evaluation(name))
            if result["eval_result_unstructured"].get("settings_sha256") == settings:
                found[name] = Measures(result["eval_result_metrics"], result["eval_result_details"][0])
    return found


def _write_results(run: RunFolder, evaluation: Evaluation, sae: ClassifSAE, settings: str) -> None:
    for name in run.cfg.evaluate.evals:
        result = saebench_result(
            f"classif_{name}",
            evaluation.measures[name],
            eval_config=asdict(run.cfg.evaluate),
            unstructured={"settings_sha256": settings, "warnings": list(evaluation.warnings)},
            sae_lens_id=METHOD,
            sae_lens_release_id=run.folder.resolve().name,
            sae_cfg_dict=sae.cfg.to_dict(),
        )
        write_json(run.evaluation(name), result)


def _embeddings(run: RunFolder, data: TextData, cfg: EvaluateConfig) -> torch.Tensor:
    """Sentence embeddings of the test texts, kept for the next method or evaluation."""
    key = sha256_of_json([data.fingerprint(), cfg.sentence_encoder])
    file = run.embeddings / f"{key[:16]}.safetensors"
    if not file.is_file():
        embeddings = embed_texts(data.texts, cfg.sentence_encoder, cfg.device)
        run.embeddings.mkdir(parents=True, exist_ok=True)
        with explain_full_disk(file):
            save_file({"embeddings": embeddings}, file.with_suffix(".partial"))
        file.with_suffix(".partial").replace(file)
    return load_file(file)["embeddings"]
