"""The model that a run explains, opened as its settings say."""

from pathlib import Path

from sae_lens_classif.artifacts import Artifact
from sae_lens_classif.config.classifier import PromptConfig
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.load import CLASSIFIER_FILE, load_classifier
from sae_lens_classif.runs.folder import SETTINGS_FILE, RunFolder
from sae_lens_classif.store.caching import check_made_by
from sae_lens_classif.store.shards import MANIFEST
from sae_lens_classif.store.store import ActivationStore


def open_checked_classifier(run: RunFolder) -> TextClassifier:
    """Open the model that a run explains, to be used beside what was made from it.

    Raises:
        UserError: If there is none yet, or the run's hidden states were made from another.
    """
    classifier = open_run_classifier(run)
    if (run.activations("test") / MANIFEST).is_file():
        check_made_by(ActivationStore(run.activations("test")), classifier)
    return classifier


def has_classifier(run: RunFolder) -> bool:
    """Whether a run has a classifier: one of the user's own, or one that was tuned for it."""
    return run.cfg.classifier.model is not None or (run.classifier / CLASSIFIER_FILE).is_file()


def open_run_classifier(run: RunFolder) -> TextClassifier:
    """Open the model that a run explains.

    Raises:
        UserError: If there is none yet, or it is code that the user did not ask for.
    """
    cfg = run.cfg.classifier
    if cfg.model is not None:
        model, data = run.allowed(cfg.model), run.texts("test")
        # A folder that `finetune` made knows its own prompt; one that was not asked for is not held against it.
        is_asked_for = run.cfg.prompt != PromptConfig(pairs=run.cfg.prompt.pairs)
        knows_its_prompt = (Path(model) / CLASSIFIER_FILE).is_file() and not is_asked_for
        prompt = None if knows_its_prompt else run.cfg.prompt
        return load_classifier(
            model, data.class_names, prompt, cfg.hook, cfg.dtype, cfg.device,
            backend=cfg.backend, multi_label=data.multi_label,
        )  # fmt: skip
    if not (run.classifier / CLASSIFIER_FILE).is_file():
        raise UserError(
            f"{run.classifier} holds no classifier; run the step `finetune`, or set classifier.model to your own"
        )
    Artifact(run.classifier, run.classifier / SETTINGS_FILE, {}).is_current()  # or it is damaged
    name = "/".join(run.classifier.resolve().parts[-2:])
    return load_classifier(
        run.classifier, hook=cfg.hook, dtype=cfg.dtype, device=cfg.device, name=name, backend=cfg.backend
    )
