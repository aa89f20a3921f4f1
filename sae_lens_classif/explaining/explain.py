"""Explain one text: which concepts are active on it, what each does to the decision, which words drive it."""

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from sae_lens_classif.config.classifier import PAIR_MARK
from sae_lens_classif.errors import UserError
from sae_lens_classif.explaining.explanation import ActiveConcept, Explanation
from sae_lens_classif.hooks.batching import states_of_inputs
from sae_lens_classif.hooks.classifier import StatesAndLogits, TextClassifier
from sae_lens_classif.hooks.inputs import TextInputs
from sae_lens_classif.hooks.interventions import InterventionLogits, run_interventions
from sae_lens_classif.methods.base import ConceptMethod
from sae_lens_classif.methods.classif_sae import as_concept_method
from sae_lens_classif.saes.classif_sae import ClassifSAE

_WORD = re.compile(r"\S+")


def explain(
    method: ConceptMethod | ClassifSAE,
    classifier: TextClassifier,
    text: str,
    descriptions: Sequence[Mapping[str, Any]] = (),
    context: str = "alone",
) -> Explanation:
    """Explain the class of one text by its concepts.

    A concept's effect is measured as the evaluation of causality does: the hidden state is replaced by what all
    concepts stand for, then by what the others do. What drives a concept is found by leaving out one word at a time.

    Args:
        method: A fitted concept method, or a trained ClassifSAE.
        classifier: The model it explains.
        text: Any text with at least one word.
        descriptions: Concepts as ``summary.json`` lists them, for their class and key words.
        context: ``alone``: the changed hidden state is a sequence of one token (the paper). ``in_context``: the
            earlier tokens are kept.

    Raises:
        UserError: If the text has no word, or ``context`` is none of the two.
    """
    if context not in ("alone", "in_context"):
        raise UserError(f"context is {context!r}; valid: alone, in_context")
    spans = [match.span() for match in _WORD.finditer(text)]
    if not spans:
        raise UserError("the text to be explained has no word; give one with at least one")
    method = as_concept_method(method)
    whole, concepts, driven = _read(method, classifier, text, spans)
    texts = [text] if context == "in_context" else None
    logits = run_interventions(classifier, method.decode, whole.hidden, concepts, texts=texts)
    probabilities = classifier.rule.probabilities
    predicted = classifier.rule.decide(whole.logits)
    return Explanation(
        text=text,
        class_names=classifier.class_names,
        probabilities=tuple(probabilities(whole.logits[0]).tolist()),
        through_concepts=tuple(probabilities(logits.bottleneck[0]).tolist()),
        with_none=tuple(probabilities(logits.nothing[0]).tolist()),
        words=tuple(text[start:end] for start, end in spans),
        concepts=_active_concepts(concepts[0], driven, logits, predicted, descriptions),
        multi_label=classifier.multi_label,
    )


def _read(
    method: ConceptMethod, classifier: TextClassifier, text: str, spans: Sequence[tuple[int, int]]
) -> tuple[StatesAndLogits, torch.Tensor, torch.Tensor]:
    """Run the text as it is, and without each of its words that the model reads.

    Returns:
        Hidden state and logits of the whole text; its concepts' activations, float32 (1, n); what each word adds to
        them, float32 (words, n).
    """
    read = _words_read(classifier.inputs, text, spans)
    states = _states(classifier, [text, *_without_each(text, [spans[place] for place in read])])
    with torch.no_grad():
        concepts = method.encode(states.hidden).float()
    driven = torch.zeros(len(spans), concepts.shape[1])
    driven[read] = concepts[:1] - concepts[1:]
    return StatesAndLogits(states.hidden[:1], states.logits[:1]), concepts[:1], driven


def _words_read(inputs: TextInputs, text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Places of the words that the model reads: of a text that is too long for it, those on the side that is kept.

    Of a pair all, but for the mark between the two.
    """
    if PAIR_MARK in text:
        return [place for place, (start, end) in enumerate(spans) if PAIR_MARK not in text[start:end]]
    whole, keeps_end = inputs([text])[0], inputs.cut == "beginning"

    def are_enough(n_words: int) -> bool:
        part = text[spans[-n_words][0] :] if keeps_end else text[: spans[n_words - 1][1]]
        return inputs([part])[0] == whole

    least = 1 + bisect_left(range(1, len(spans)), True, key=are_enough)
    return list(range(len(spans) - least, len(spans)) if keeps_end else range(least))


def _states(classifier: TextClassifier, texts: Sequence[str]) -> StatesAndLogits:
    """Hidden states and logits of texts; those that are cut to the same are run once."""
    inputs = classifier.inputs(texts)
    places = {ids: place for place, ids in enumerate(dict.fromkeys(map(tuple, inputs)))}
    states = states_of_inputs(classifier, [list(ids) for ids in places])
    rows = [places[tuple(ids)] for ids in inputs]
    return StatesAndLogits(states.hidden[rows], states.logits[rows])


def _without_each(text: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """The text without its first, second ... word, and without the white space before it."""
    return [f"{text[:start].rstrip()}{text[end:]}".lstrip() for start, end in spans]


def _active_concepts(
    activations: torch.Tensor,
    driven: torch.Tensor,
    logits: InterventionLogits,
    predicted: torch.Tensor,
    descriptions: Sequence[Mapping[str, Any]],
) -> tuple[ActiveConcept, ...]:
    described = {int(description["index"]): description for description in descriptions}
    probabilities, changes = logits.rule.probabilities, logits.pair_change
    moved = logits.rule.moved(changes, predicted[logits.pair_text])
    found = [
        ActiveConcept(
            index=index,
            class_name=described.get(index, {}).get("class_name"),
            key_words=tuple(described.get(index, {}).get("key_words", ())),
            activation=float(activations[index]),
            class_number=number,
            effect=float(change[number]),
            probabilities_without=tuple(without.tolist()),
            words=tuple(driven[:, index].tolist()),
            name=described.get(index, {}).get("name", ""),
        )
        for index, number, change, without in zip(
            logits.pair_concept.tolist(), moved.tolist(), changes, probabilities(logits.pair), strict=True
        )
    ]
    return tuple(sorted(found, key=lambda concept: -abs(concept.effect)))
