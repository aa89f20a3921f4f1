"""Interventions: replace hidden states by what some concepts stand for, ablate concepts, run the rest."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from tqdm.auto import tqdm

from sae_lens_classif.hooks.batching import batches_by_length
from sae_lens_classif.hooks.classifier import Context, TextClassifier

Decode = Callable[[torch.Tensor], torch.Tensor]
Run = Callable[[torch.Tensor | None, torch.Tensor], torch.Tensor]
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
        untouched: float32 (N, C), hidden states as they are, run on as the replaced ones are: what no concepts could
            better, the ceiling.
        nothing: float32 (N, C), hidden states replaced by what stands for no concept at all: the floor.
    """

    bottleneck: torch.Tensor
    pair_text: torch.Tensor
    pair_concept: torch.Tensor
    pair: torch.Tensor
    groups: torch.Tensor
    untouched: torch.Tensor
    nothing: torch.Tensor

    @property
    def pair_change(self) -> torch.Tensor:
        """What the concept of each pair adds to the probability of each class, float32 (P, C), -1..1."""
        return self.bottleneck.softmax(dim=1)[self.pair_text] - self.pair.softmax(dim=1)


def replace_states(decode: Decode, concepts: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Decode concepts and give the result the original state's L2 norm.

    Args:
        decode: From concepts (m, n) to hidden states (m, d_in).
        concepts: float (m, n).
        hidden: float (m, d_in), the original states.

    Returns:
        float (m, d_in).
    """
    return with_norm_of(hidden, decode(concepts))


def with_norm_of(hidden: torch.Tensor, decoded: torch.Tensor) -> torch.Tensor:
    """What concepts decode to, with the L2 norm of the states in whose place it comes.

    Args:
        hidden: float (m, d_in), the original states.
        decoded: float (m, d_in); gradients flow back.

    Returns:
        float (m, d_in).
    """
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
    """Run the rest of the model from the bottleneck, from the states as they are, and without concepts.

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
    n_pairs = ablated_alone.sum(dim=1)
    pairs_of = torch.arange(len(pair_text)).split(n_pairs.tolist())
    n_classes = len(classifier.class_names)
    untouched, nothing, bottleneck = torch.empty(3, n_texts, n_classes)
    pair = torch.empty(len(pair_text), n_classes)
    grouped = torch.empty(len(groups), n_texts, n_classes)
    progress = tqdm(total=n_texts, desc="Ablating concepts", unit=" texts", delay=1)  # not for a single text
    for rows, run in text_batches(classifier, decode, hidden, texts, batch_size):
        own = torch.arange(len(rows))
        untouched[rows] = run(None, own)
        nothing[rows] = run(torch.zeros_like(concepts[rows]), own)
        bottleneck[rows] = run(concepts[rows], own)
        batch_pairs = torch.cat([pairs_of[row] for row in rows.tolist()])
        ablated = concepts[pair_text[batch_pairs]]
        ablated[torch.arange(len(batch_pairs)), pair_concept[batch_pairs]] = 0
        pair[batch_pairs] = run(ablated, own.repeat_interleave(n_pairs[rows]))
        for number, group in enumerate(groups):
            grouped[number, rows] = run(concepts[rows].masked_fill(group, 0), own)
        progress.update(len(rows))
    progress.close()
    return InterventionLogits(bottleneck, pair_text, pair_concept, pair, grouped, untouched, nothing)


def text_batches(
    classifier: TextClassifier, decode: Decode, hidden: torch.Tensor, texts: Sequence[str] | None, batch_size: int
) -> Iterator[tuple[torch.Tensor, Run]]:
    """Batches of texts, each with what runs the rest of the model for them, as often as wanted.

    Args:
        classifier: The model.
        decode: From concepts (m, n) to hidden states (m, d_in).
        hidden: float (N, d_in), original states.
        texts: The N texts, to keep the earlier tokens (in context). Default: each state alone.
        batch_size: States of one pass; in context, tokens of one pass.

    Yields:
        Numbers of the texts, int64 (b,), and a function from concepts, float (m, n), and the places in the batch of the
        texts that they are of, int64 (m,), to logits, float32 (m, C); None for the states as they are.
    """
    if texts is None:
        for rows in torch.arange(len(hidden)).split(batch_size):
            yield rows, partial(_run, classifier, decode, hidden[rows], None, batch_size)
        return
    inputs = classifier.inputs(texts)
    for numbers in batches_by_length([len(ids) for ids in inputs], batch_size):
        own = [inputs[number] for number in numbers]
        size = max(1, batch_size // max(map(len, own)))
        rows = torch.tensor(numbers)
        yield rows, partial(_run, classifier, decode, hidden[rows], classifier.context(own), size)


def _run(
    classifier: TextClassifier,
    decode: Decode,
    hidden: torch.Tensor,
    context: Context | None,
    size: int,
    concepts: torch.Tensor | None,
    places: torch.Tensor,
) -> torch.Tensor:
    """Logits, float32 (m, C), for concepts (m, n) of texts at places (m,) of a batch, alone or in their context.

    Without concepts for the states as they are.
    """
    logits = []
    for part in torch.arange(len(places)).split(size):
        own = places[part]
        earlier = context.select(own.to(context.last.device)) if context is not None else None
        states = hidden[own] if concepts is None else replace_states(decode, concepts[part], hidden[own])
        logits.append(classifier.logits_from(states, earlier))
    return torch.cat(logits)
