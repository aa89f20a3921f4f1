"""Interventions: replace hidden states by what some concepts stand for, ablate concepts, run the rest."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm

from sae_lens_classif.decisions import ONE_CLASS, DecisionRule
from sae_lens_classif.hooks.batching import batches_by_length
from sae_lens_classif.hooks.classifier import Context, TextClassifier

Decode = Callable[[torch.Tensor], torch.Tensor]
Rescale = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
ACTIVE = 1e-8
_EPSILON = 1e-9


@dataclass(frozen=True)
class InterventionLogits:
    """Class logits of a model under every intervention that the evaluations need.

    Attributes:
        bottleneck: float32 (N, C), hidden states replaced by what all concepts stand for.
        pair_text: int64 (P,), text of each pair of a text and a concept that is active on it.
        pair_concept: int64 (P,), the concept of each pair.
        pair: float32 (P, C), as ``bottleneck``, with the pair's concept ablated.
        groups: float32 (G, N, C), as ``bottleneck``, with each group of concepts ablated.
        untouched: float32 (N, C), hidden states as they are, run on as the replaced ones are: what no concepts could
            better, the ceiling.
        nothing: float32 (N, C), hidden states replaced by what stands for no concept at all: the floor.
        rule: What the model decides, given logits.
    """

    bottleneck: torch.Tensor
    pair_text: torch.Tensor
    pair_concept: torch.Tensor
    pair: torch.Tensor
    groups: torch.Tensor
    untouched: torch.Tensor
    nothing: torch.Tensor
    rule: DecisionRule = ONE_CLASS

    @property
    def pair_change(self) -> torch.Tensor:
        """What the concept of each pair adds to the probability of each class, float32 (P, C), -1..1."""
        probabilities = self.rule.probabilities
        return probabilities(self.bottleneck)[self.pair_text] - probabilities(self.pair)


def to_original_norm(decoded: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Give decoded states, float (m, d_in), the L2 norms of the original ones, float (m, d_in)."""
    scale: torch.Tensor = hidden.norm(dim=-1, keepdim=True) / (decoded.norm(dim=-1, keepdim=True) + _EPSILON)
    return decoded * scale


def replace_states(
    decode: Decode, concepts: torch.Tensor, hidden: torch.Tensor, rescale: Rescale = to_original_norm
) -> torch.Tensor:
    """Decode concepts and bring the result to the scale of hidden states.

    Args:
        decode: From concepts (m, n) to hidden states (m, d_in).
        concepts: float (m, n).
        hidden: float (m, d_in), the original states.
        rescale: From what is decoded and the original states to states (m, d_in). Default: the original's L2 norm.

    Returns:
        float (m, d_in).
    """
    return rescale(decode(concepts), hidden)


@torch.no_grad()
def run_interventions(
    classifier: TextClassifier,
    decode: Decode,
    hidden: torch.Tensor,
    concepts: torch.Tensor,
    *,
    groups: torch.Tensor | None = None,
    pairs: bool = True,
    replacements: torch.Tensor | None = None,
    texts: Sequence[str] | None = None,
    rescale: Rescale = to_original_norm,
    batch_size: int = 4096,
) -> InterventionLogits:
    """Run the rest of the model from the bottleneck, from the states as they are, and without concepts.

    Args:
        classifier: The model.
        decode: From concepts (m, n) to hidden states (m, d_in).
        hidden: float (N, d_in), original states.
        concepts: float (N, n), their concepts' activations.
        groups: bool (G, n), concepts to ablate together. Default: none.
        pairs: Whether to ablate each active concept of each text by itself.
        replacements: float (N, n), what takes the place of an ablated activation. Default: 0.
        texts: The N texts, to keep the earlier tokens (in context). Default: each state alone.
        rescale: See ``replace_states``.
        batch_size: States of one pass; in context, tokens of one pass.
    """
    n_texts, n_concepts = concepts.shape
    groups = groups if groups is not None else torch.zeros(0, n_concepts, dtype=torch.bool)
    fill = torch.zeros_like(concepts) if replacements is None else replacements
    ablated_alone = concepts.abs() > ACTIVE if pairs else torch.zeros_like(concepts, dtype=torch.bool)
    pair_text, pair_concept = ablated_alone.nonzero(as_tuple=True)
    n_pairs = ablated_alone.sum(dim=1)
    pairs_of = torch.arange(len(pair_text)).split(n_pairs.tolist())
    n_classes = len(classifier.class_names)
    untouched, nothing, bottleneck = torch.empty(3, n_texts, n_classes)
    pair = torch.empty(len(pair_text), n_classes)
    grouped = torch.empty(len(groups), n_texts, n_classes)
    progress = tqdm(total=n_texts, desc="Ablating concepts", unit=" texts", delay=1)  # not for a single text
    for batch in text_batches(classifier, decode, hidden, texts, batch_size, rescale):
        rows, own = batch.rows, torch.arange(len(batch.rows))
        untouched[rows] = batch.run(None, own)
        nothing[rows] = batch.run(torch.zeros_like(concepts[rows]), own)
        bottleneck[rows] = batch.run(concepts[rows], own)
        of_batch = torch.cat([pairs_of[row] for row in rows.tolist()])
        text, concept = pair_text[of_batch], pair_concept[of_batch]
        ablated = concepts[text]
        ablated[torch.arange(len(text)), concept] = fill[text, concept]
        pair[of_batch] = batch.run(ablated, own.repeat_interleave(n_pairs[rows]))
        for number, group in enumerate(groups):
            grouped[number, rows] = batch.run(concepts[rows].where(~group, fill[rows]), own)
        progress.update(len(rows))
    progress.close()
    return InterventionLogits(bottleneck, pair_text, pair_concept, pair, grouped, untouched, nothing, classifier.rule)


@dataclass(frozen=True)
class TextBatch:
    """Some texts, for which the rest of the model is run as often as wanted.

    Attributes:
        rows: int64 (b,), their numbers.
        hidden: float (b, d_in), their original states.
        classifier: The model.
        decode: From concepts (m, n) to hidden states (m, d_in).
        rescale: See ``replace_states``.
        context: Their earlier tokens; None: each state is run alone.
        size: States of one pass.
    """

    rows: torch.Tensor
    hidden: torch.Tensor
    classifier: TextClassifier
    decode: Decode
    rescale: Rescale
    context: Context | None
    size: int

    def run(self, concepts: torch.Tensor | None, places: torch.Tensor) -> torch.Tensor:
        """Logits, float32 (m, C), through concepts, float (m, n), of the texts at places, int64 (m,), of the batch.

        Without concepts for the states as they are.
        """
        logits = []
        for part in torch.arange(len(places)).split(self.size):
            own = places[part]
            states, earlier = self.hidden[own], None
            if concepts is not None:
                states = replace_states(self.decode, concepts[part], states, self.rescale)
            if self.context is not None:
                earlier = self.context.select(own.to(self.context.last.device))
            logits.append(self.classifier.logits_from(states, earlier))
        return torch.cat(logits)


def text_batches(
    classifier: TextClassifier,
    decode: Decode,
    hidden: torch.Tensor,
    texts: Sequence[str] | None,
    batch_size: int,
    rescale: Rescale = to_original_norm,
) -> Iterator[TextBatch]:
    """Batches of texts, each with what runs the rest of the model for them.

    Args:
        classifier: The model.
        decode: From concepts (m, n) to hidden states (m, d_in).
        hidden: float (N, d_in), original states.
        texts: The N texts, to keep the earlier tokens (in context). Default: each state alone.
        batch_size: States of one pass; in context, tokens of one pass.
        rescale: See ``replace_states``.
    """
    if texts is None:
        for rows in torch.arange(len(hidden)).split(batch_size):
            yield TextBatch(rows, hidden[rows], classifier, decode, rescale, None, batch_size)
        return
    inputs = classifier.inputs(texts)
    for numbers in batches_by_length([len(ids) for ids in inputs], batch_size):
        own = [inputs[number] for number in numbers]
        size = max(1, batch_size // max(map(len, own)))
        rows = torch.tensor(numbers)
        yield TextBatch(rows, hidden[rows], classifier, decode, rescale, classifier.context(own), size)
