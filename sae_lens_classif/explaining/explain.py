"""One text explained: its class, the concepts active on it, what each does to the decision, which words drive it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.batching import states_of_inputs
from sae_lens_classif.hooks.classifier import StatesAndLogits, TextClassifier
from sae_lens_classif.hooks.inputs import TextInputs
from sae_lens_classif.hooks.interventions import InterventionLogits, run_interventions
from sae_lens_classif.methods.base import ConceptMethod
from sae_lens_classif.methods.classif_sae import as_concept_method
from sae_lens_classif.saes.classif_sae import ClassifSAE

_WORD = re.compile(r"\S+")
_BATCH_TOKENS = 8192


@dataclass(frozen=True)
class ActiveConcept:
    """A concept that is active on a text.

    Attributes:
        index: Its number, 0..n-1.
        class_name: Class on whose texts it is most active; None where that is not known.
        key_words: Words that set its texts apart; empty where they are not known.
        activation: How strongly it is active.
        effect: What it adds to the probability of the text's class: that through all concepts less that without it,
            -1..1.
        probabilities_without: Probability of each class without it.
        words: What each word of the text adds to the activation: that of the whole text less that without the word.
    """

    index: int
    class_name: str | None
    key_words: tuple[str, ...]
    activation: float
    effect: float
    probabilities_without: tuple[float, ...]
    words: tuple[float, ...]


@dataclass(frozen=True)
class Explanation:
    """Why a text got its class.

    Attributes:
        text: The text.
        class_names: Names of the C classes.
        probabilities: Of each class, as the model gives it.
        through_concepts: The same where the model sees nothing but the concepts.
        with_none: The same where it sees what stands for no concept at all.
        words: The words of the text, in their order: what lies between white space.
        concepts: The active ones, the largest effect first.
    """

    text: str
    class_names: tuple[str, ...]
    probabilities: tuple[float, ...]
    through_concepts: tuple[float, ...]
    with_none: tuple[float, ...]
    words: tuple[str, ...]
    concepts: tuple[ActiveConcept, ...]

    @property
    def predicted(self) -> int:
        """Number of the class that the model predicts."""
        return _most_probable(self.probabilities)

    @property
    def class_through_concepts(self) -> int:
        """Number of the class that is predicted through the concepts alone."""
        return _most_probable(self.through_concepts)

    def driving_words(self, concept: ActiveConcept) -> tuple[str, ...]:
        """Words that add to a concept's activation at least a twelfth of what the strongest adds, strongest first."""
        shares = sorted(zip(concept.words, self.words, strict=True), key=lambda entry: -entry[0])
        least = max(shares[0][0] / 12, 0)
        return tuple(dict.fromkeys(word for share, word in shares if share > least))

    def class_without(self, concept: ActiveConcept) -> int:
        """Number of the class that is predicted through the other concepts."""
        return _most_probable(concept.probabilities_without)

    def _repr_html_(self) -> str:
        from sae_lens_classif.explaining.html import to_html

        return to_html(self)


def _most_probable(probabilities: Sequence[float]) -> int:
    return max(range(len(probabilities)), key=probabilities.__getitem__)


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
    logits = run_interventions(
        classifier,
        method.decode,
        whole.hidden,
        concepts,
        groups=torch.ones(1, concepts.shape[1], dtype=torch.bool),
        texts=[text] if context == "in_context" else None,
    )
    return Explanation(
        text=text,
        class_names=classifier.class_names,
        probabilities=tuple(whole.logits[0].softmax(dim=0).tolist()),
        through_concepts=tuple(logits.bottleneck[0].softmax(dim=0).tolist()),
        with_none=tuple(logits.groups[0, 0].softmax(dim=0).tolist()),
        words=tuple(text[start:end] for start, end in spans),
        concepts=_active_concepts(concepts[0], driven, logits, int(whole.logits[0].argmax()), descriptions),
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
    driven[read.start : read.stop] = concepts[:1] - concepts[1:]
    return StatesAndLogits(states.hidden[:1], states.logits[:1]), concepts[:1], driven


def _words_read(inputs: TextInputs, text: str, spans: Sequence[tuple[int, int]]) -> range:
    """Places of the words that the model reads: of a text that is too long for it, those on the side that is kept."""
    whole, keeps_end = inputs([text])[0], inputs.cut == "beginning"
    least, most = 1, len(spans)  # so many words at that side give the same input
    while least < most:
        middle = (least + most) // 2
        part = text[spans[-middle][0] :] if keeps_end else text[: spans[middle - 1][1]]
        if inputs([part])[0] == whole:
            most = middle
        else:
            least = middle + 1
    return range(len(spans) - least, len(spans)) if keeps_end else range(least)


def _states(classifier: TextClassifier, texts: Sequence[str]) -> StatesAndLogits:
    """Hidden states and logits of texts; those that are cut to the same are run once."""
    inputs = classifier.inputs(texts)
    places = {ids: place for place, ids in enumerate(dict.fromkeys(map(tuple, inputs)))}
    states = states_of_inputs(classifier, [list(ids) for ids in places], _BATCH_TOKENS)
    rows = [places[tuple(ids)] for ids in inputs]
    return StatesAndLogits(states.hidden[rows], states.logits[rows])


def _without_each(text: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """The text without its first, second ... word, and without the white space before it."""
    return [f"{text[:start].rstrip()}{text[end:]}".lstrip() for start, end in spans]


def _active_concepts(
    activations: torch.Tensor,
    driven: torch.Tensor,
    logits: InterventionLogits,
    predicted: int,
    descriptions: Sequence[Mapping[str, Any]],
) -> tuple[ActiveConcept, ...]:
    described = {int(own["index"]): own for own in descriptions}
    through = logits.bottleneck[0].softmax(dim=0)
    found = []
    for index, without in zip(logits.pair_concept.tolist(), logits.pair.softmax(dim=1), strict=True):
        own = described.get(index, {})
        found.append(
            ActiveConcept(
                index=index,
                class_name=own.get("class_name"),
                key_words=tuple(own.get("key_words", ())),
                activation=float(activations[index]),
                effect=float(through[predicted] - without[predicted]),
                probabilities_without=tuple(without.tolist()),
                words=tuple(driven[:, index].tolist()),
            )
        )
    return tuple(sorted(found, key=lambda concept: -abs(concept.effect)))
