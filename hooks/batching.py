"""Batches of inputs of like length: as one tensor, and what the model gives for them."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tqdm.std import tqdm

from sae_lens_classif.hooks.classifier import StatesAndLogits, TextClassifier


def pad_right(inputs: Sequence[Sequence[int]], pad_token_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Put inputs of several lengths into one tensor.

    Causal attention never looks to the right, so padding there cannot change an input's own states.

    Args:
        inputs: Token ids of B inputs.
        pad_token_id: Any valid token id.

    Returns:
        Token ids, int64 (B, longest), and the position of each input's last token, int64 (B,).
    """
    longest = max(len(ids) for ids in inputs)
    padded = [[*ids, *[pad_token_id] * (longest - len(ids))] for ids in inputs]
    return torch.tensor(padded), torch.tensor([len(ids) - 1 for ids in inputs])


def mask_of(lengths: torch.Tensor, longest: int) -> torch.Tensor:
    """Which tokens of inputs that are padded on the right are none of the padding, int64 (B, longest), 1 or 0.

    Args:
        lengths: int64 (B,), tokens of each input.
        longest: Tokens of each, padding included.
    """
    return (torch.arange(longest, device=lengths.device) < lengths[:, None]).long()


def batch_tokens(device: torch.device) -> int:
    """Tokens of one forward pass: few enough for the caches of a CPU, enough to fill a GPU."""
    return 2048 if device.type == "cpu" else 16384


def batches_by_length(lengths: Sequence[int], max_batch_tokens: int) -> Iterator[list[int]]:
    """Group rows of like length, so that little is padding.

    Args:
        lengths: Tokens of each row.
        max_batch_tokens: Rows times the longest of them, of one batch; a longer single row is a batch by itself.

    Yields:
        Row numbers, the longest rows first; all batches together hold every row once.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    start = 0
    while start < len(order):
        size = max(1, max_batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


def states_of_inputs(
    classifier: TextClassifier,
    inputs: list[list[int]],
    max_batch_tokens: int | None = None,
    progress: "tqdm[Any] | None" = None,
) -> StatesAndLogits:
    """Read the model's hidden state and class logits for each input, as ``classifier.inputs`` makes them of texts.

    Args:
        classifier: The model.
        inputs: Token ids of n inputs, without padding.
        max_batch_tokens: Tokens, padding included, of one forward pass. Default: ``batch_tokens``.
        progress: Advanced by one an input.

    Returns:
        hidden float32 (n, d_model) and logits float32 (n, C), in the order of the inputs.
    """
    hidden = torch.empty(len(inputs), classifier.d_model)
    logits = torch.empty(len(inputs), len(classifier.class_names))
    at_most = max_batch_tokens or batch_tokens(classifier.device)
    for rows in batches_by_length([len(ids) for ids in inputs], at_most):
        hidden[rows], logits[rows] = classifier.states_and_logits([inputs[row] for row in rows])
        if progress is not None:
            progress.update(len(rows))
    return StatesAndLogits(hidden, logits)
