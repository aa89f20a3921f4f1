"""Any number of texts, each with its class, that through the concepts alone, and the concepts active on it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from sae_lens_classif.data.given import texts_of
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.batching import states_of_inputs
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.interventions import run_interventions
from sae_lens_classif.methods.base import ConceptMethod
from sae_lens_classif.methods.classif_sae import as_concept_method
from sae_lens_classif.saes.classif_sae import ClassifSAE

CHUNK = 1024  # texts in memory at once


@dataclass(frozen=True)
class ScoredConcept:
    """A concept that is active on a text.

    Attributes:
        concept: Its number.
        activation: How strongly it is active.
        effect: What it adds to the probability of the text's class, through the concepts alone, -1..1; where a text may
            have several labels, to that of the label it moves most.
        of: That class.
        name: The concept's name; empty where none is known.
    """

    concept: int
    activation: float
    effect: float
    of: str
    name: str = ""


@dataclass(frozen=True)
class ScoredText:
    """What a model says of a text, and through which concepts.

    Attributes:
        predicted: The class, or the labels with commas between.
        probability: Of the class; where a text may have several labels, of the least sure of these decisions.
        through_concepts: The class through the concepts alone.
        concepts: The active ones, the largest effect first.
    """

    predicted: str
    probability: float
    through_concepts: str
    concepts: tuple[ScoredConcept, ...]

    def to_row(self) -> dict[str, Any]:
        """As JSON and tables have it."""
        return {**vars(self), "concepts": [dict(vars(concept)) for concept in self.concepts]}


def score(
    method: ConceptMethod | ClassifSAE,
    classifier: TextClassifier,
    texts: Any,
    context: str = "alone",
    names: Mapping[int, str] | None = None,
) -> Iterator[ScoredText]:
    """Score texts one after the other, however many there are: some thousand are in memory at once.

    Args:
        method: A fitted concept method, or a trained ClassifSAE.
        classifier: The model it explains.
        texts: A text, any number of them, or a DataFrame or ``datasets.Dataset`` with the column ``text``.
        context: See ``explain``.
        names: Names of concepts by their numbers.

    Raises:
        UserError: If they are something else, or one is no string.
    """
    method, start, rest = as_concept_method(method), 0, iter(texts_of(texts))
    while chunk := list(islice(rest, CHUNK)):
        for row, text in enumerate(chunk, start):
            if not isinstance(text, str):
                raise UserError(f"text {row} is of type {type(text).__name__}; texts must be strings")
        yield from _score(method, classifier, chunk, context, names or {})
        start += len(chunk)


def _score(
    method: ConceptMethod, classifier: TextClassifier, texts: Sequence[str], context: str, names: Mapping[int, str]
) -> Iterator[ScoredText]:
    states, rule = states_of_inputs(classifier, classifier.inputs(texts)), classifier.rule
    class_names = classifier.class_names
    with torch.no_grad():
        concepts = method.encode(states.hidden).float()
    kept = texts if context == "in_context" else None
    logits = run_interventions(classifier, method.decode, states.hidden, concepts, texts=kept)
    probabilities, predicted = rule.probabilities(states.logits), rule.decide(states.logits)
    sure, change = rule.sureness(probabilities), logits.pair_change
    moved = rule.moved(change, predicted[logits.pair_text])
    effects = change.gather(1, moved[:, None])[:, 0]
    of_text: Mapping[int, list[ScoredConcept]] = {row: [] for row in range(len(texts))}
    for row, concept, number, effect in zip(
        logits.pair_text.tolist(), logits.pair_concept.tolist(), moved.tolist(), effects.tolist(), strict=True
    ):
        strength, class_name = float(concepts[row, concept]), class_names[number]
        of_text[row].append(ScoredConcept(concept, strength, effect, class_name, names.get(concept, "")))
    through = rule.decide(logits.bottleneck)
    for row, (said, also) in enumerate(zip(predicted.tolist(), through.tolist(), strict=True)):
        yield ScoredText(
            predicted=rule.in_words(said, class_names),
            probability=float(sure[row]),
            through_concepts=rule.in_words(also, class_names),
            concepts=tuple(sorted(of_text[row], key=lambda concept: -abs(concept.effect))),
        )
