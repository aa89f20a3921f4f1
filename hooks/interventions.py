"""Interventions: replace hidden states by what some concepts stand for, ablate concepts, run the rest."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm

from sae_lens_classif.hooks.batching import batches_by_length
from sae_lens_classif.hooks.classifier import Context, TextClassifier

Decode = Callable[[torch.Tensor], torch.Tensor]
ACTIVE = 1e-8
_EPSILON = 1e-9


@dataclass(frozen=True)
class InterventionLogits:
    """Class logits of a model under every intervention that the evaluations need.

    Attributes:
        bottleneck: float32 (N, C), hidden states replaced by what all concepts stand for.
        pair_text: int64 (P,), text of each pair of a text and a concept that is active on it.
        pair_concept: int64 (P,), the concept of each pair.
        pair: float32 (P, C), as ``bottleneck``, with the pair's concept zeroed.
        groups: float32 (G, N, C), as ``bottleneck``, with each group of concepts zeroed.
    """

    bottleneck: torch.Tensor
    pair_text: torch.Tensor
    pair_concept: torch.Tensor
    pair: torch.Tensor
    groups: torch.Tensor


def replace_states(decode: Decode, concepts: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Decode concepts and give the result the original state's L2 norm.

    Args:
        decode: From concepts (m, n) to hidden states (m, d_in).
        concepts: float (m, n).
        hidden: float (m, d_in), the original states.

    Returns:
        float (m, d_in).
    """
    decoded = decode(concepts)
    scale: torch.Tensor = hidden.norm(dim=-1, keepdim=True) / (decoded.norm(dim=-1, keepdim=True) + _EPSILON)
    return decoded * scale


@torch.no_grad()
def run_interventions(
    classifier: TextClassifier,
    decode: Decode,
    hidden: torch.Tensor,
    concepts: torch.Tensor,
    *,
    groups: torch.Tensor | None = None,
    pairs: bool = True,
    texts: Sequence[str] | None = None,
    batch_size: int = 4096,
) -> InterventionLogits:
    """Run the rest of the model from the bottleneck, without each active concept, and without groups.

    Args:
        classifier: The model.
        decode: From concepts (m, n) to hidden states (m, d_in).
        hidden: float (N, d_in), original states.
        concepts: float (N, n), their concepts' activations.
        groups: bool (G, n), concepts to zero together. Default: none.
        pairs: Whether to zero each active concept of each text by itself.
        texts: The N texts, to keep the earlier tokens (in context). Default: each state alone.
        batch_size: States of one pass; in context, tokens of one pass.
    """
    n_texts, n_concepts = concepts.shape
    groups = groups if groups is not None else torch.zeros(0, n_concepts, dtype=torch.bool)
    ablated_alone = concepts.abs() > ACTIVE if pairs else torch.zeros_like(concepts, dtype=torch.bool)
    pair_text, pair_concept = ablated_alone.nonzero(as_tuple=True)
    n_classes = len(classifier.class_names)
    bottleneck = torch.empty(n_texts, n_classes)
    pair = torch.empty(len(pair_text), n_classes)
    grouped = torch.empty(len(groups), n_texts, n_classes)
    pairs_of = _pairs_of_texts(pair_text, n_texts)
    inputs = classifier.inputs(texts) if texts is not None else None
    progress = tqdm(total=n_texts, desc="Ablating concepts", unit=" texts", delay=1)  # not for a single text
    for rows in _text_batches(inputs, n_texts, batch_size):
        run = _Runner(classifier, decode, hidden, rows, inputs, batch_size)
        batch_pairs = torch.cat([pairs_of[row] for row in rows.tolist()])
        bottleneck[rows] = run(concepts[rows], rows)
        ablated = concepts[pair_text[batch_pairs]]
        ablated[torch.arange(len(batch_pairs)), pair_concept[batch_pairs]] = 0
        pair[batch_pairs] = run(ablated, pair_text[batch_pairs])
        for number, group in enumerate(groups):
            grouped[number, rows] = run(concepts[rows].masked_fill(group, 0), rows)
        progress.update(len(rows))
    progress.close()
    return InterventionLogits(bottleneck, pair_text, pair_concept, pair, grouped)


def _pairs_of_texts(pair_text: torch.Tensor, n_texts: int) -> tuple[torch.Tensor, ...]:
    counts = torch.bincount(pair_text, minlength=n_texts)
    pairs: tuple[torch.Tensor, ...] = torch.arange(len(pair_text)).split(counts.tolist())
    return pairs


def _text_batches(inputs: list[list[int]] | None, n_texts: int, batch_size: int) -> Iterator[torch.Tensor]:
    if inputs is None:
        yield from torch.arange(n_texts).split(batch_size)
        return
    for rows in batches_by_length([len(ids) for ids in inputs], batch_size):
        yield torch.tensor(rows)


class _Runner:
    """Runs the model from decoded concepts of one batch of texts, alone or in their context."""

    def __init__(
        self,
        classifier: TextClassifier,
        decode: Decode,
        hidden: torch.Tensor,
        rows: torch.Tensor,
        inputs: list[list[int]] | None,
        batch_size: int,
    ) -> None:
        self._classifier = classifier
        self._decode = decode
        self._hidden = hidden
        self._size = batch_size
        self._context: Context | None = None
        if inputs is not None:
            of_batch = [inputs[row] for row in rows.tolist()]
            self._context = classifier.context(of_batch)
            self._size = max(1, batch_size // max(map(len, of_batch)))
            self._position = torch.full((len(hidden),), -1)
            self._position[rows] = torch.arange(len(rows))

    def __call__(self, concepts: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Logits, float32 (m, C), for concepts (m, n) of the texts with numbers (m,)."""
        logits = [
            self._run(replace_states(self._decode, part, self._hidden[text]), text)
            for part, text in zip(concepts.split(self._size), texts.split(self._size), strict=True)
        ]
        return torch.cat(logits) if logits else torch.empty(0, len(self._classifier.class_names))

    def _run(self, states: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        if self._context is None:
            return self._classifier.logits_from(states)
        rows = self._position[texts].to(self._context.last.device)
        return self._classifier.logits_from(states, self._context.select(rows))
