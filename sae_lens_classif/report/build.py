"""Gather what a report shows, from the files of a run and one pass over its test texts."""

import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from tqdm.auto import tqdm

from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.completeness import FIRES, class_scores
from sae_lens_classif.evals.concept_effects import ConceptEffects, concept_effects
from sae_lens_classif.evals.evaluate import check_belong_together
from sae_lens_classif.evals.results import Measures
from sae_lens_classif.explaining.explain import explain
from sae_lens_classif.figures.style import svg_of
from sae_lens_classif.files import read_json
from sae_lens_classif.hooks.interventions import ACTIVE, run_interventions
from sae_lens_classif.methods.classif_sae import ClassifSAEConcepts
from sae_lens_classif.report.view import ClassScores, DefaultClass, Mistakes, Report, ShownConcept, ShownText
from sae_lens_classif.runs.about import last_part, model_in_words, shown_settings
from sae_lens_classif.runs.evaluation_files import read_measures
from sae_lens_classif.runs.figures import map_of_concepts
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.own_comparison import read_own_comparison
from sae_lens_classif.runs.steps import TestSplit, evaluation_settings, load_trained

_N_MISTAKES = 60
_N_WRONG_TEXTS = 5  # of a concept
_MAP_TEXTS = 2000
_PACKAGES = ("sae-lens-classif", "sae-lens", "transformer-lens", "transformers", "torch", "numpy", "scikit-learn")


def gather_report(run: RunFolder, explained: int) -> Report:
    """Gather what the report of a run shows.

    Args:
        run: A run that was trained and evaluated.
        explained: For how many texts is worked out which concepts and words their class is due to.

    Raises:
        UserError: If the run is not evaluated as it stands now.
    """
    method, weights = load_trained(run)
    split = TestSplit(run)
    summary = read_json(run.summary) if run.summary.is_file() else {"methods": {}}
    entry = summary["methods"].get(METHOD)
    if entry is None:
        raise UserError(f"{run.folder} holds no evaluation of {METHOD}; run the step `evaluate` first")
    if entry["settings_sha256"] != evaluation_settings(run, weights, split.store):
        raise UserError(
            f"{run.summary} is of another SAE, of other texts or of other settings than {run.folder} holds now; run "
            "the step `evaluate` again"
        )
    check_belong_together(method.classif_sae, split.classifier, split.store, split.data)
    shown = _Shown(run, method, split, entry)
    return Report(
        run=run.folder.resolve().name,
        model=model_in_words(run.cfg, lambda what: _name_of(run, summary, what)),
        data=_name_of(run, summary, "data"),
        summary=summary,
        entry=entry,
        class_names=split.store.class_names,
        class_scores=shown.class_scores(),
        seed=run.cfg.train.seed,
        is_measured=shown.is_measured,
        n_concepts=method.classif_sae.cfg.n_concepts,
        concepts=shown.concepts,
        texts=shown.texts(explained),
        default_class=shown.default_class,
        mistakes=shown.mistakes,
        concept_map=shown.concept_map(),
        comparison=read_own_comparison(run, entry),
        settings=shown_settings(run.cfg),
        fingerprints=_fingerprints(split, weights, entry),
    )


def _name_of(run: RunFolder, summary: Mapping[str, Any], what: str) -> str:
    """Name on the Hub, or the last part of a local folder's path: where it lies is nobody's business."""
    local = {
        "model": run.cfg.classifier.model,
        "base_model": run.cfg.finetune.base_model,
        "data": run.cfg.data.source,
    }[what]
    return summary.get("hub_names", {}).get(what) or last_part(str(local))


def _fingerprints(split: TestSplit, weights: str, entry: Mapping[str, Any]) -> dict[str, str]:
    of_store = split.store.fingerprints
    versions = {f"{name} that wrote this page": version(name) for name in _PACKAGES}
    return {
        "weights of the SAE, SHA-256": weights,
        "language model, SHA-256": of_store.model,
        "test texts, SHA-256": of_store.data,
        "prompt, SHA-256": of_store.prompt,
        "settings of the evaluation, SHA-256": entry["settings_sha256"],
        **versions,
        "Python that wrote this page": platform.python_version(),
    }


class _Shown:
    """The concepts of a run on its test texts."""

    def __init__(self, run: RunFolder, method: ClassifSAEConcepts, split: TestSplit, entry: Mapping[str, Any]) -> None:
        self._run, self._method, self._split, self._entry = run, method, split, entry
        store = split.store
        self._predicted, self._labels = store.read("predicted"), store.read("label")
        # Where everything is NaN nothing was measured, and there is nothing to show of the concepts.
        self.is_measured = "original_accuracy" in entry or bool(entry["concepts"])
        hidden = store.read("hidden").float()
        with torch.no_grad():
            self._activations = method.encode(hidden).float()
        if not self.is_measured:
            self._activations = torch.zeros_like(self._activations)
        context = run.cfg.evaluate.context
        logits = run_interventions(
            split.classifier,
            method.decode,
            hidden,
            self._activations,
            groups=torch.ones(1, self._activations.shape[1], dtype=torch.bool),
            texts=split.data.texts if context == "in_context" else None,
            batch_size=run.cfg.evaluate.batch_size,
        )
        is_default = self.is_measured and context == "alone"
        self.default_class = _default_class(logits.groups[0]) if is_default else None
        self._effects = concept_effects(self._activations, logits, self._predicted, self._labels)
        self.concepts = self._concepts(self._effects)
        self.mistakes = self._mistakes(self._effects)

    def class_scores(self) -> tuple[ClassScores, ...]:
        """One a class."""
        scores = class_scores(self._predicted, self._labels, len(self._split.store.class_names))
        return tuple(
            ClassScores(
                n_texts=int(own["n_texts"]),
                recall=own["recall"] if own["n_texts"] else None,
                precision=own["precision"] if number in self._predicted else None,
                taken_for=self._taken_for(number),
            )
            for number, own in enumerate(scores)
        )

    def _taken_for(self, number: int) -> tuple[int, float] | None:
        given = Counter(self._predicted[self._labels == number].tolist())
        n_texts = given.total()
        del given[number]
        if not given:
            return None
        other, count = given.most_common(1)[0]
        return other, count / n_texts

    def _concepts(self, effects: ConceptEffects) -> tuple[ShownConcept, ...]:
        measures = read_measures(self._run.evaluations(METHOD), self._entry["settings_sha256"])
        counts = (self._activations.abs() > ACTIVE).sum(dim=0).tolist()
        class_numbers = {name: number for number, name in enumerate(self._split.store.class_names)}
        return tuple(
            ShownConcept(
                index=own["index"],
                class_number=class_numbers[own["class_name"]],
                weights=_weights(own, measures),
                activation_rate=own["activation_rate"],
                n_texts=counts[own["index"]],
                tvd=own["tvd"],
                flips=_flips(own, measures),
                concept_sim=own["concept_sim"],
                effects=tuple(effects.by_class[own["index"]].tolist()),
                rate_on_wrong=float(effects.rate_on_wrong[own["index"]]),
                rate_on_right=float(effects.rate_on_right[own["index"]]),
                top_texts=tuple(own["top_texts"]),
                wrong_texts=self._wrong_texts(own["index"]),
            )
            for own in self._entry["concepts"]
        )

    def _wrong_texts(self, concept: int) -> tuple[int, ...]:
        """Wrongly decided texts on which a concept fires: those that it pushes there first, then the most active."""
        pushed = [own.row for own in self._effects.misled if own.concept == concept]
        strength = self._activations[:, concept].abs()
        wrong = ((self._predicted != self._labels) & (strength > FIRES)).nonzero()[:, 0]
        by_strength = wrong[strength[wrong].argsort(descending=True, stable=True)].tolist()
        return tuple(dict.fromkeys([*pushed, *by_strength]))[:_N_WRONG_TEXTS]

    def _mistakes(self, effects: ConceptEffects) -> Mistakes:
        return Mistakes(
            n_wrong=int((self._predicted != self._labels).sum()),
            n_misled=len(effects.misled),
            n_righted=sum(own.is_righted for own in effects.misled),
            shown=effects.misled[:_N_MISTAKES],
        )

    def concept_map(self) -> str | None:
        """The map of texts and concepts as SVG, each concept a link to its card."""
        if not self.is_measured:
            return None
        figure = map_of_concepts(self._method, self._split.store, max_texts=_MAP_TEXTS, link="#concept-{}")
        return svg_of(figure)

    def texts(self, explained: int) -> dict[int, ShownText]:
        """The texts that some part of the report shows, the first of them explained."""
        data = self._split.data
        # The most telling first: the mistakes at the top of their list in turn with the top texts of all concepts.
        rows = list(dict.fromkeys(_in_turn([own.row for own in self.mistakes.shown], list(self._top_texts()))))
        others = (row for concept in self.concepts for row in concept.wrong_texts)
        shown = {
            row: ShownText(data.texts[row], int(self._predicted[row]), int(self._labels[row]))
            for row in [*rows, *others]
        }
        context = self._run.cfg.evaluate.context
        descriptions = self._entry["concepts"]
        # A text of white space alone has no word that could be left out.
        worth = [row for row in rows if data.texts[row].split()][:explained]
        for row in tqdm(worth, desc="Explaining texts", unit=" texts", delay=1):
            explanation = explain(self._method, self._split.classifier, data.texts[row], descriptions, context)
            shown[row] = replace(shown[row], explanation=explanation)
        return shown

    def _top_texts(self) -> Iterator[int]:
        """The strongest text of every concept, then the second of every one, and so on."""
        for rank in range(self._run.cfg.evaluate.top_texts):
            for concept in self.concepts:
                yield from concept.top_texts[rank : rank + 1]


def _weights(concept: Mapping[str, Any], measures: Mapping[str, Measures]) -> dict[str, float]:
    """Key words with their weights; all alike where interpretability was not measured."""
    if "interpretability" not in measures:
        return dict.fromkeys(concept["key_words"], 1.0)
    weights: dict[str, float] = measures["interpretability"].details["key_words"][concept["index"]]
    return weights


def _default_class(logits: torch.Tensor) -> DefaultClass:
    counts = logits.argmax(dim=1).bincount()
    number = int(counts.argmax())
    probabilities = logits.softmax(dim=1).mean(dim=0)
    return DefaultClass(number, float(counts[number] / len(logits)), tuple(probabilities.tolist()))


def _flips(concept: Mapping[str, Any], measures: Mapping[str, Measures]) -> float | None:
    if "causality" not in measures:
        return None
    flips: float = measures["causality"].details["concepts"][concept["index"]]["label_flip_rate"]
    return flips


def _in_turn(some: Sequence[int], others: Sequence[int]) -> Iterator[int]:
    """One of the first, three of the second, and so on until both are used up."""
    for start in range(max(len(some), len(others))):
        yield from some[start : start + 1]
        yield from others[3 * start : 3 * start + 3]
