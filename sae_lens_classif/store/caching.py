"""Fill an activations store with the hidden states of texts."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm.std import tqdm

from sae_lens_classif.artifacts import Artifact
from sae_lens_classif.config.classifier import CacheConfig
from sae_lens_classif.data.given import as_text_data
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.batching import states_of_inputs
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.store.shards import MANIFEST
from sae_lens_classif.store.store import ActivationStore, Fingerprints, StorePlan
from sae_lens_classif.store.writer import StoreWriter

logger = logging.getLogger(__name__)

_LABELS = {
    True: "let data.label_column hold lists of labels, or name a column of 0 and 1 for each in data.label_columns",
    False: "let data.label_column hold one class a text",
}


def cache_states(
    classifier: TextClassifier,
    data: Any,
    folder: str | Path,
    cfg: CacheConfig | None = None,
    is_current: Callable[[Artifact], bool] = Artifact.is_current,
) -> ActivationStore:
    """Store the hidden state and predicted class of every text; what a killed run stored is kept.

    Args:
        classifier: The model.
        data: Labelled texts of one split: a ``TextData``, a DataFrame or ``datasets.Dataset`` with the columns
            ``text`` and ``label``, a pair ``(texts, labels)``, a list of dicts.
        folder: Where the store is, or will be.
        cfg: Precision and sizes.
        is_current: Whether a store that is there was made from this; it may delete one that is to be made anew.

    Returns:
        The store.

    Raises:
        UserError: If the data are something else, a store is there that was made from another model, data set or
            template, a state is not finite, or the disk is full.
    """
    cfg, folder = cfg or CacheConfig(), Path(folder)
    data = as_text_data(data, classifier.class_names)
    if data.class_names != classifier.class_names:
        raise UserError(
            f"the classes of the texts ({', '.join(data.class_names)}) are not those of {classifier.name} "
            f"({', '.join(classifier.class_names)}); set data.class_names"
        )
    if data.multi_label != classifier.multi_label:
        one, several = "one class a text", "any number of labels a text"
        raise UserError(
            f"{classifier.name} gives {several if classifier.multi_label else one}, the texts have "
            f"{several if data.multi_label else one}; {_LABELS[classifier.multi_label]}"
        )
    fingerprints = Fingerprints(classifier.model_fingerprint, data.fingerprint(), classifier.prompt_fingerprint())
    if is_current(Artifact(folder, folder / MANIFEST, asdict(fingerprints), ("fingerprints",))):
        logger.info("activations: reusing %s", folder)
        return ActivationStore(folder)
    plan = StorePlan(
        fingerprints=fingerprints,
        model_name=classifier.name,
        hook_name=classifier.hook_name,
        class_names=data.class_names,
        n_texts=len(data),
        d_in=classifier.d_model,
        context_size=classifier.inputs.max_tokens,
        prepend_bos=classifier.inputs.prepends_bos,
        dtype=cfg.dtype,
        shard_size=cfg.shard_size,
        multi_label=classifier.multi_label,
    )
    _fill(StoreWriter(folder, plan), classifier, data, cfg)
    return ActivationStore(folder)


def _fill(writer: StoreWriter, classifier: TextClassifier, data: TextData, cfg: CacheConfig) -> None:
    missing = list(writer.missing())
    n_missing = sum(len(texts) for _, texts in missing)
    labels = torch.from_numpy(data.labels)
    with tqdm(
        total=len(data), initial=len(data) - n_missing, desc=f"Caching {writer.folder.name}", unit=" texts"
    ) as progress:
        for number, texts in missing:
            part = slice(texts.start, texts.stop)
            states = states_of_inputs(classifier, classifier.inputs(data.texts[part]), cfg.max_batch_tokens, progress)
            infinite = (~states.logits.isfinite().all(dim=-1)).nonzero()
            if len(infinite):
                raise UserError(
                    f"the class logits of text {texts[int(infinite[0])]} are not finite; check the model's weights, or "
                    "set classifier.dtype to float32"
                )
            rule = classifier.rule
            sureness = rule.sureness(rule.probabilities(states.logits))
            writer.write(number, states.hidden, rule.decide(states.logits), labels[part], texts, sureness)
    writer.finish()


def check_made_by(store: ActivationStore, classifier: TextClassifier) -> None:
    """Refuse a store of another model, prompt or hook than a classifier's.

    Raises:
        UserError: Naming what differs.
    """
    if store.fingerprints.model != classifier.model_fingerprint:
        raise UserError(
            f"{store.folder} was made with another model (fingerprint {store.fingerprints.model[:16]}) than "
            f"{classifier.name} ({classifier.model_fingerprint[:16]}); give the classifier of these states, or run "
            "`cache` again"
        )
    if store.fingerprints.prompt != classifier.prompt_fingerprint():
        raise UserError(
            f"{store.folder} was made with another prompt, other classes or at another hook ({store.hook_name}) than "
            f"{classifier.name} is opened with ({classifier.hook_name}); open it as `cache` did, or run `cache` again"
        )
