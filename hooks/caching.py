"""Hidden states and predicted classes of texts, from one pass of the model over prompts of like length."""

from collections.abc import Sequence
from typing import Any

import torch
from tqdm.std import tqdm

from sae_lens_classif.hooks.batching import batches_by_length
from sae_lens_classif.hooks.classifier import StatesAndLogits, TextClassifier


def states_of_texts(
    classifier: TextClassifier,
    texts: Sequence[str],
    max_batch_tokens: int,
    progress: "tqdm[Any] | None" = None,
) -> StatesAndLogits:
    """Read the model's hidden state and class logits for each text.

    Args:
        classifier: The model.
        texts: n texts.
        max_batch_tokens: Tokens, padding included, of one forward pass.
        progress: Advanced by one a text.

    Returns:
        hidden float32 (n, d_model) and logits float32 (n, C), in the order of the texts.
    """
    prompts = classifier.prompts(texts)
    hidden = torch.empty(len(texts), classifier.d_model)
    logits = torch.empty(len(texts), len(classifier.class_names))
    for rows in batches_by_length([len(ids) for ids in prompts], max_batch_tokens):
        hidden[rows], logits[rows] = classifier.states_and_logits([prompts[row] for row in rows])
        if progress is not None:
            progress.update(len(rows))
    return StatesAndLogits(hidden, logits)
