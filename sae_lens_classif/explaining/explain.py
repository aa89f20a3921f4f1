"""Explain texts: which concepts are active on each, what each does to the decision, which words drive it."""

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, overload

import torch
from tqdm.auto import tqdm

from sae_lens_classif.config.classifier import PAIR_MARK
from sae_lens_classif.data.given import texts_of
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
_TOGETHER = 16  # texts whose words are left out in the same passes of the model

Spans = list[tuple[int, int]]


@overload
def explain(
    method: ConceptMethod | ClassifSAE,
    classifier: TextClassifier,
    text: str,
    descriptions: Sequence[Mapping[str, Any]] = ...,
    context: str = ...,
) -> Explanation: ...


@overload
def explain(
    method: ConceptMethod | ClassifSAE,
    classifier: TextClassifier,
    text: Any,
    descriptions: Sequence[Mapping[str, Any]] = ...,
    context: str = ...,
) -> list[Explanation]: ...


def explain(
    method: ConceptMethod | ClassifSAE,
    classifier: TextClassifier,
    text: Any,
    descriptions: Sequence[Mapping[str, Any]] = (),
    context: str = "alone",
) -> Explanation | list[Explanation]:
    """Explain the class of a text, or of each of several, by its concepts.

    A concept's effect is measured as the evaluation of causality does: the hidden state is replaced by what all
    concepts stand for, then by what the others do. What drives a concept is found by leaving out one word at a time.

    Args:
        method: A fitted concept method, or a trained ClassifSAE.
        classifier: The model it explains.
        text: Any text with at least one word, or any number of them, which are run together: a list, a ``TextData``, a
            DataFrame or ``datasets.Dataset`` with the column ``text``.
        descriptions: Concepts as ``summary.json`` lists them, for their class and key words.
        context: ``alone``: the changed hidden state is a sequence of one token (the paper). ``in_context``: the
            earlier tokens are kept.

    Returns:
        One explanation of a text, a list of them of several.

    Raises:
        UserError: If they are something else, a text is no string or has no word, or ``context`` is none of the two.
    """
    if context not in ("alone", "in_context"):
        raise UserError(f"context is {context!r}; valid: alone, in_context")
    texts = list(texts_of(text))
    names = ["the text"] if isinstance(text, str) else [f"text {number}" for number in range(len(texts))]
    spans = list(map(_spans, texts, names))
    method, found = as_concept_method(method), []
    with tqdm(total=len(texts), desc="Explaining texts", unit=" texts", delay=1) as progress:
        for start in range(0, len(texts), _TOGETHER):
            some = slice(start, start + _TOGETHER)
            found += _explain(method, classifier, texts[some], spans[some], descriptions, context)
            progress.update(len(texts[some]))
    return found[0] if isinstance(text, str) else found


def _spans(text: str, name: str) -> Spans:
    """Where each word of a text begins and ends."""
    if not isinstance(text, str):
        raise UserError(f"{name} is of type {type(text).__name__}; texts must be strings")
    spans = [match.span() for match in _WORD.finditer(text)]
    if not spans:
        raise UserError(f"{name} to be explained has no word; give one with at least one")
    return spans


def _explain(
    method: ConceptMethod,
    classifier: TextClassifier,
    texts: Sequence[str],
    spans: Sequence[Spans],
    descriptions: Sequence[Mapping[str, Any]],
    context: str,
) -> list[Explanation]:
    whole, concepts, driven = _read(method, classifier, texts, spans)
    kept = texts if context == "in_context" else None
    logits = run_interventions(classifier, method.decode, whole.hidden, concepts, texts=kept)
    active = _active_concepts(concepts, driven, logits, classifier.rule.decide(whole.logits), descriptions)
    columns = map(classifier.rule.probabilities, (whole.logits, logits.bottleneck, logits.nothing))
    return [
        Explanation(
            text=text,
            class_names=classifier.class_names,
            probabilities=tuple(probabilities),
            through_concepts=tuple(through),
            with_none=tuple(none),
            words=tuple(text[start:end] for start, end in words),
            concepts=active[row],
            multi_label=classifier.multi_label,
        )
        for row, (text, words, probabilities, through, none) in enumerate(
            zip(texts, spans, *(column.tolist() for column in columns), strict=True)
        )
    ]


def _read(
    method: ConceptMethod, classifier: TextClassifier, texts: Sequence[str], spans: Sequence[Spans]
) -> tuple[StatesAndLogits, torch.Tensor, list[torch.Tensor]]:
    """Run texts as they are, and each without each of its words that the model reads.

    Returns:
        Hidden states and logits of the N whole texts; their concepts' activations, float32 (N, n); for each text what
        each word adds to them, float32 (words, n).
    """
    read = [_words_read(classifier.inputs, *text) for text in zip(texts, spans, strict=True)]
    variants = [
        [text, *_without_each(text, [words[place] for place in places])]
        for text, words, places in zip(texts, spans, read, strict=True)
    ]
    states = _states(classifier, [variant for of_text in variants for variant in of_text])
    with torch.no_grad():
        parts = method.encode(states.hidden).float().split(list(map(len, variants)))
    driven = [torch.zeros(len(words), part.shape[1]) for words, part in zip(spans, parts, strict=True)]
    for added, places, part in zip(driven, read, parts, strict=True):
        added[places] = part[:1] - part[1:]
    whole = torch.tensor([0, *map(len, variants[:-1])]).cumsum(dim=0)
    return StatesAndLogits(states.hidden[whole], states.logits[whole]), torch.stack([part[0] for part in parts]), driven


def _words_read(inputs: TextInputs, text: str, spans: Spans) -> list[int]:
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


def _without_each(text: str, spans: Spans) -> list[str]:
    """The text without its first, second ... word, and without the white space before it."""
    return [f"{text[:start].rstrip()}{text[end:]}".lstrip() for start, end in spans]


def _active_concepts(
    activations: torch.Tensor,
    driven: Sequence[torch.Tensor],
    logits: InterventionLogits,
    predicted: torch.Tensor,
    descriptions: Sequence[Mapping[str, Any]],
) -> list[tuple[ActiveConcept, ...]]:
    """The active concepts of each text, the largest effect first."""
    described = {int(description["index"]): description for description in descriptions}
    probabilities, changes = logits.rule.probabilities, logits.pair_change
    moved = logits.rule.moved(changes, predicted[logits.pair_text])
    found: list[list[ActiveConcept]] = [[] for _ in driven]
    pairs = zip(logits.pair_text.tolist(), logits.pair_concept.tolist(), moved.tolist(), strict=True)
    for (row, index, number), change, without in zip(pairs, changes, probabilities(logits.pair), strict=True):
        about = described.get(index, {})
        concept = ActiveConcept(
            index=index,
            class_name=about.get("class_name"),
            key_words=tuple(about.get("key_words", ())),
            activation=float(activations[row, index]),
            class_number=number,
            effect=float(change[number]),
            probabilities_without=tuple(without.tolist()),
            words=tuple(driven[row][:, index].tolist()),
            name=about.get("name", ""),
        )
        found[row].append(concept)
    return [tuple(sorted(of_text, key=lambda concept: -abs(concept.effect))) for of_text in found]
