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
    return states_of_prompts(classifier, classifier.prompts(texts), max_batch_tokens, progress)


def states_of_prompts(
    classifier: TextClassifier,
    prompts: list[list[int]],
    max_batch_tokens: int,
    progress: "tqdm[Any] | None" = None,
) -> StatesAndLogits:
    """The same for token ids.

    Args:
        classifier: The model.
        prompts: Token ids of n prompts, without padding.
        max_batch_tokens: Tokens, padding included, of one forward pass.
        progress: Advanced by one a prompt.

    Returns:
        hidden float32 (n, d_model) and logits float32 (n, C), in the order of the prompts.
    """
    hidden = torch.empty(len(prompts), classifier.d_model)
    logits = torch.empty(len(prompts), len(classifier.class_names))
    for rows in batches_by_length([len(ids) for ids in prompts], max_batch_tokens):
        hidden[rows], logits[rows] = classifier.states_and_logits([prompts[row] for row in rows])
        if progress is not None:
            progress.update(len(rows))
    return StatesAndLogits(hidden, logits)
