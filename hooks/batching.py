"""Prompts of several lengths in one tensor, and batches of prompts of like length."""

from collections.abc import Iterator, Sequence

import torch


def pad_right(prompts: Sequence[Sequence[int]], pad_token_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Put prompts of several lengths into one tensor.

    Causal attention never looks to the right, so padding there cannot change a prompt's own states.

    Args:
        prompts: Token ids of B prompts.
        pad_token_id: Any valid token id.

    Returns:
        Token ids, int64 (B, longest), and the position of each prompt's last token, int64 (B,).
    """
    longest = max(len(ids) for ids in prompts)
    padded = [[*ids, *[pad_token_id] * (longest - len(ids))] for ids in prompts]
    return torch.tensor(padded), torch.tensor([len(ids) - 1 for ids in prompts])


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
