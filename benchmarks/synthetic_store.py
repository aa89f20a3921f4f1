"""A store of made-up hidden states, as large as asked for."""

from pathlib import Path

import torch

from sae_lens_classif import ActivationStore, TextClassifier
from sae_lens_classif.store.store import Fingerprints, StorePlan
from sae_lens_classif.store.writer import StoreWriter

_N_CLASSES, _SHARD = 4, 10_000


def write_store(folder: Path, n_states: int, d_in: int, classifier: TextClassifier | None = None) -> ActivationStore:
    """States near a 64-dimensional plane, classes that follow from them.

    Args:
        folder: Gets the store.
        n_states: Number of states.
        d_in: Their width.
        classifier: The model that is said to have made them.
    """
    made_by = ("none", "none")
    if classifier is not None:
        made_by = classifier.model_fingerprint, classifier.prompt_fingerprint()
    torch.manual_seed(0)
    basis, head = torch.randn(64, d_in) / 8, torch.randn(64, _N_CLASSES)
    plan = StorePlan(
        fingerprints=Fingerprints(made_by[0], "made up", made_by[1]),
        model_name="none",
        hook_name="blocks.0.hook_resid_pre",
        class_names=tuple("abcd"),
        n_texts=n_states,
        d_in=d_in,
        context_size=1,
        prepend_bos=False,
        dtype="float16",
        shard_size=_SHARD,
    )
    writer = StoreWriter(folder, plan)
    for number, texts in writer.missing():
        inner = torch.randn(len(texts), 64)
        classes = (inner @ head).argmax(dim=1)
        writer.write(number, inner @ basis + 0.1 * torch.randn(len(texts), d_in), classes, classes.clone(), texts)
    writer.finish()
    return ActivationStore(folder)
