"""Gather what a report shows, from the files of a run."""

import math
import platform
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import torch

from sae_lens_classif.audit.stable_concepts import read_stability
from sae_lens_classif.data.texts import TextData, load_column
from sae_lens_classif.evals.base import TestPass
from sae_lens_classif.evals.classifier_scores import ClassifierScores, classifier_scores
from sae_lens_classif.evals.comparison import ComparedMethod
from sae_lens_classif.evals.concept_effects import ConceptEffects, MisledText, effects_of
from sae_lens_classif.evals.direct_effects import direct_effects
from sae_lens_classif.evals.evaluate import check_belong_together
from sae_lens_classif.evals.overlap import cosines
from sae_lens_classif.evals.slices import (
    Slice,
    WordCounts,
    by_length,
    by_value,
    differences,
    slices,
    words_in,
    words_of_texts,
)
from sae_lens_classif.evals.worth import Worth
from sae_lens_classif.explaining.explain import explain
from sae_lens_classif.figures.style import svg_of
from sae_lens_classif.methods.base import ConceptMethod
from sae_lens_classif.report.masking import masked, masked_concept, masked_explanation
from sae_lens_classif.report.view import LENGTH, DefaultClass, Mistakes, Report, ShownConcept, ShownText
from sae_lens_classif.runs.about import last_part, model_in_words, shown_settings
from sae_lens_classif.runs.figures import map_of_concepts, tradeoffs_of_seeds
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.names import names_of
from sae_lens_classif.runs.results import read_comparison, read_effects, read_measures, read_summary
from sae_lens_classif.runs.run_method import RunMethod, current_entry, load_fitted
from sae_lens_classif.runs.steps import TestSplit
from sae_lens_classif.store.store import ActivationStore

_N_MISTAKES = 60
_MAP_TEXTS = 2000
_N_NEAREST = 3
_SAME_WORDS = 0.5  # of the key words of both
_PACKAGES = ("sae-lens-classif", "sae-lens", "transformer-lens", "transformers", "torch", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Choices:
    """What whoever writes a report chooses.

    Attributes:
        explained: For how many texts is worked out which concepts and words their class is due to.
        columns: Columns of the data by which the texts are told apart, to see where the classifier errs more often.
        mask: Whether handles and addresses in texts are masked.
        note: What whoever opens the page should know of the texts first.
    """

    explained: int = 100
    columns: Sequence[str] = ()
    mask: bool = False
    note: str = ""


def gather_report(run: RunFolder, choices: Choices, method: str = METHOD) -> Report:
    """Gather what the report of a run shows.

    Args:
        run: A run that was trained and evaluated.
        choices: What is shown.
        method: Whose concepts: the run's ClassifSAE, or a method that ``compare`` fitted, with the first of its seeds.

    Raises:
        UserError: If the run is not evaluated as it stands now, or its texts have no such column.
    """
    columns = {name: load_column(run.cfg.data, "test", name, run.names_of_model) for name in choices.columns}
    of, split, summary = load_fitted(run, method), TestSplit(run), read_summary(run)
    entry = current_entry(run, of, split.store, summary)
    settings = entry["settings_sha256"]
    shown = _masked(split.data) if choices.mask else split.data
    if choices.mask:
        visible, given = set().union(*map(words_in, shown.texts)), names_of(run, of.name)
        described = [masked_concept(one, visible, given.get(one["index"], "")) for one in entry["concepts"]]
        entry = {**entry, "concepts": described}
    check_belong_together(of.method.autoencoder(), split.classifier, split.store, split.data)
    # Where everything is NaN nothing was measured, and there is nothing to show of the concepts.
    is_measured = "original_accuracy" in entry or bool(entry["concepts"])
    effects = _effects(run, of, split, settings) if is_measured else None
    concepts = _concepts(of, split, entry, effects) if effects else ()
    if choices.mask:
        concepts = tuple(replace(concept, weights=_visible(concept.weights, visible)) for concept in concepts)
    mistakes = _mistakes(split.store, effects.misled if effects else ())
    comparison = read_comparison(run, of.name, of.seed, settings)
    return Report(
        run=run.folder.resolve().name,
        method=of.name,
        title=of.title,
        model=model_in_words(run.cfg, lambda what: _name_of(run, summary, what)),
        data=_name_of(run, summary, "data"),
        summary=summary,
        entry=entry,
        class_names=split.store.class_names,
        scores=_scores(split.store),
        worth=_worth(split.store, entry),
        seed=of.seed,
        is_measured=is_measured,
        n_concepts=of.n_concepts(split.store),
        concepts=concepts,
        texts=_texts(run, of.method, split, entry, concepts, mistakes, choices),
        default_class=_default_class(effects.default) if effects else None,
        mistakes=mistakes,
        concept_map=_concept_map(of, split.store) if is_measured else None,
        comparison=comparison,
        tradeoffs=_tradeoffs(comparison),
        settings=shown_settings(run.cfg),
        fingerprints=_fingerprints(split, of, settings),
        stability=read_stability(run, of.name, settings),
        multi_label=split.store.multi_label,
        slices=_slices(split.store, split.data, columns),
        words=_words(split.store, shown),
        note=choices.note,
        is_masked=choices.mask,
    )


def _scores(store: ActivationStore) -> ClassifierScores:
    # Of several labels it is that of the least sure one, which says nothing of the whole set.
    sureness = store.read("sureness") if store.has("sureness") and not store.multi_label else None
    return classifier_scores(store.read("predicted"), store.read("label"), store.n_classes, store.rule, sureness)


def _is_right(store: ActivationStore) -> torch.Tensor:
    return store.read("predicted") == store.read("label")


def _visible(weights: Mapping[str, float], visible: Set[str]) -> dict[str, float]:
    return {word: weight for word, weight in weights.items() if words_in(word) <= visible}


def _masked(data: TextData) -> TextData:
    return replace(data, texts=tuple(map(masked, data.texts)))


def _slices(
    store: ActivationStore, data: TextData, columns: Mapping[str, Sequence[Any]]
) -> dict[str, tuple[Slice, ...]]:
    parts = {LENGTH: by_length(data.texts), **{name: by_value(values) for name, values in columns.items()}}
    return {name: slices(members, _is_right(store)) for name, members in parts.items()}


def _words(store: ActivationStore, data: TextData) -> dict[str, WordCounts]:
    decided = [store.rule.members(decision, store.n_classes) for decision in store.read("predicted").tolist()]
    return words_of_texts(data.texts, decided, _is_right(store))


def _name_of(run: RunFolder, summary: Mapping[str, Any], what: str) -> str:
    """Name on the Hub, or the last part of a local folder's path: where it lies is nobody's business."""
    local = {
        "model": run.cfg.classifier.model,
        "base_model": run.cfg.finetune.base_model,
        "data": run.cfg.data.source,
    }[what]
    return summary["hub_names"][what] or last_part(str(local))


def _fingerprints(split: TestSplit, of: RunMethod, settings: str) -> dict[str, str]:
    of_store = split.store.fingerprints
    versions = {f"{name} that wrote this page": version(name) for name in _PACKAGES}
    return {
        f"weights of {'the SAE' if of.name == METHOD else of.title}, SHA-256": of.weights,
        "language model, SHA-256": of_store.model,
        "test texts, SHA-256": of_store.data,
        "prompt, SHA-256": of_store.prompt,
        "settings of the evaluation, SHA-256": settings,
        **versions,
        "Python that wrote this page": platform.python_version(),
    }


def _effects(run: RunFolder, of: RunMethod, split: TestSplit, settings: str) -> ConceptEffects:
    """What each concept does to the decisions, as `evaluate` kept it; where it took none away, worked out now."""
    kept = read_effects(of.evaluations, settings)
    if kept is not None:
        return kept
    texts = TestPass(of.method, split.classifier, split.store, split.data, run.cfg.evaluate)
    texts.run_model(with_ablations=True)
    return effects_of(texts)


def _worth(store: ActivationStore, entry: Mapping[str, Any]) -> Worth:
    low, _ = entry.get("original_accuracy_ci95") or (None, None)
    return Worth.of(store.read("predicted"), store.read("label"), store.class_names, store.rule, low)


def _concepts(
    of: RunMethod, split: TestSplit, entry: Mapping[str, Any], effects: ConceptEffects
) -> tuple[ShownConcept, ...]:
    class_names = split.store.class_names
    measures = read_measures(of.evaluations, entry["settings_sha256"])
    details = {name: value for found in measures.values() for name, value in found.details.items()}
    words, ablated = details.get("key_words"), details.get("concepts")
    described = [concept["index"] for concept in entry["concepts"]]
    more_on_wrong = _more_on_wrong(effects, described, int((~_is_right(split.store)).sum()), len(split.store))
    slopes, nearest = _slopes(of.method, split), _nearest(of.method.directions(), described)
    return tuple(
        ShownConcept(
            index=(index := concept["index"]),
            class_number=class_names.index(concept["class_name"]),
            active_class_number=class_names.index(concept["active_class_name"]),
            weights=words[index] if words else dict.fromkeys(concept["key_words"], 1.0),
            activation_rate=concept["activation_rate"],
            n_texts=int(effects.n_texts[index]),
            tvd=concept["tvd"],
            flips=ablated[index]["label_flip_rate"] if ablated else None,
            concept_sim=concept["concept_sim"],
            effects=tuple(effects.by_class[index].tolist()),
            rate_on_wrong=float(effects.rate_on_wrong[index]),
            rate_on_right=float(effects.rate_on_right[index]),
            top_texts=tuple(concept["top_texts"]),
            wrong_texts=tuple(row for row in effects.wrong_texts[index].tolist() if row >= 0),
            fires_with=tuple(concept.get("fires_with", ())),
            points_with=tuple(concept.get("points_with", ())),
            given_name=concept.get("name", ""),
            is_more_on_wrong=index in more_on_wrong,
            histogram=tuple(effects.histogram[index].tolist()),
            largest=float(effects.largest[index]),
            by_strength=tuple(value for value in effects.by_strength[index].tolist() if not math.isnan(value)),
            slopes=tuple(slopes[index].tolist()) if slopes is not None else (),
            nearest=nearest.get(index, ()),
            same_words=_same_words(concept, entry["concepts"]),
        )
        for concept in entry["concepts"]
    )


def _more_on_wrong(effects: ConceptEffects, concepts: Sequence[int], n_wrong: int, n_texts: int) -> set[int]:
    """Concepts that fire more often on wrong decisions than on right ones, beyond chance."""
    n_right = n_texts - n_wrong
    more = [index for index in concepts if effects.rate_on_wrong[index] > effects.rate_on_right[index]]
    hits = [
        (round(float(effects.rate_on_wrong[index]) * n_wrong), round(float(effects.rate_on_right[index]) * n_right))
        for index in more
    ]
    tables = [(wrong, n_wrong - wrong, right, n_right - right) for wrong, right in hits]
    return {index for index, differs in zip(more, differences(tables), strict=True) if differs}


def _slopes(method: ConceptMethod, split: TestSplit) -> torch.Tensor | None:
    directions = method.directions()
    if directions is None:
        return None
    return direct_effects(split.classifier, split.store.read("hidden").float(), directions)


def _nearest(directions: torch.Tensor | None, concepts: Sequence[int]) -> dict[int, tuple[tuple[int, float], ...]]:
    if directions is None or len(concepts) < 2:
        return {}
    own = directions[list(concepts)]
    alike = cosines(own, own).fill_diagonal_(-torch.inf)
    values, places = alike.topk(min(_N_NEAREST, len(concepts) - 1), dim=1)
    return {
        index: tuple((concepts[place], value) for place, value in zip(own_places, own_values, strict=True))
        for index, own_places, own_values in zip(concepts, places.tolist(), values.tolist(), strict=True)
    }


def _same_words(concept: Mapping[str, Any], concepts: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    own = set(concept["key_words"])
    others = ((other["index"], set(other["key_words"])) for other in concepts if other["index"] != concept["index"])
    return tuple(index for index, words in others if own and len(own & words) >= _SAME_WORDS * len(own | words))


def _mistakes(store: ActivationStore, misled: Sequence[MisledText]) -> Mistakes:
    return Mistakes(
        n_wrong=int((~_is_right(store)).sum()),
        n_misled=len(misled),
        n_righted=sum(text.is_righted for text in misled),
        shown=tuple(misled[:_N_MISTAKES]),
    )


def _concept_map(of: RunMethod, store: ActivationStore) -> str:
    """The map of texts and concepts as SVG, each concept a link to its card."""
    return svg_of(map_of_concepts(of.method, store, max_texts=_MAP_TEXTS, link="#concept-{}"), "map")


def _tradeoffs(methods: Sequence[ComparedMethod]) -> str | None:
    """What each method gives up, as SVG; None where there is nothing to compare."""
    figure = tradeoffs_of_seeds(methods) if len(methods) > 1 else None
    return svg_of(figure, "tradeoffs") if figure is not None else None


def _texts(
    run: RunFolder,
    method: ConceptMethod,
    split: TestSplit,
    entry: Mapping[str, Any],
    concepts: Sequence[ShownConcept],
    mistakes: Mistakes,
    choices: Choices,
) -> dict[int, ShownText]:
    """The texts that some part of the report shows, the first of them explained."""
    texts, cfg = split.data.texts, run.cfg.evaluate
    predicted, labels = split.store.read("predicted"), split.store.read("label")
    # The most telling first: the mistakes at the top of their list in turn with the top texts of all concepts.
    top = [row for rank in range(cfg.top_texts) for concept in concepts for row in concept.top_texts[rank : rank + 1]]
    rows = list(dict.fromkeys(_in_turn([text.row for text in mistakes.shown], top)))
    others = (row for concept in concepts for row in concept.wrong_texts)
    shown = {row: ShownText(texts[row], int(predicted[row]), int(labels[row])) for row in [*rows, *others]}
    # A text of white space alone has no word that could be left out.
    worth = [row for row in rows if texts[row].split()][: choices.explained]
    explained_ones = explain(method, split.classifier, map(texts.__getitem__, worth), entry["concepts"], cfg.context)
    for row, explanation in zip(worth, explained_ones, strict=True):
        shown[row] = replace(shown[row], explanation=explanation)
    return {row: _masked_text(text) for row, text in shown.items()} if choices.mask else shown


def _masked_text(text: ShownText) -> ShownText:
    explained = text.explanation
    return replace(text, text=masked(text.text), explanation=explained and masked_explanation(explained))


def _default_class(default: torch.Tensor | None) -> DefaultClass | None:
    if default is None:
        return None
    shares, probabilities = default
    number = int(shares.argmax())
    return DefaultClass(number, float(shares[number]), tuple(probabilities.tolist()))


def _in_turn(some: Sequence[int], others: Sequence[int]) -> Iterator[int]:
    """One of the first, three of the second, and so on until both are used up."""
    for start in range(max(len(some), len(others))):
        yield from some[start : start + 1]
        yield from others[3 * start : 3 * start + 3]
