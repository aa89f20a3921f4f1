"""Evaluate the concepts of a method on the test texts, and describe each of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from sae_lens import SAE
from tqdm.auto import tqdm

from sae_lens_classif.config.run import EvaluateConfig
from sae_lens_classif.data.given import as_text_data
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.base import FIRES, TestPass, evaluations, needs_of
from sae_lens_classif.evals.concept_effects import ConceptEffects, effects_of, unraised_classes
from sae_lens_classif.evals.interpretability import activating_sets
from sae_lens_classif.evals.measures import context_warning, headlines, warnings_about
from sae_lens_classif.evals.overlap import twins, twins_by_concept
from sae_lens_classif.evals.phrases import phrases
from sae_lens_classif.evals.results import Measures, merged_metrics
from sae_lens_classif.evals.topic_coherence import key_words
from sae_lens_classif.evals.worth import Worth
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.methods.base import ConceptMethod
from sae_lens_classif.methods.classif_sae import as_concept_method
from sae_lens_classif.saes.classif_sae import ClassifSAE
from sae_lens_classif.store.caching import check_made_by
from sae_lens_classif.store.store import ActivationStore
from sae_lens_classif.tables import Table
from sae_lens_classif.wording import number

if TYPE_CHECKING:
    import pandas as pd

_N_KEY_WORDS = 8
_N_SHOWN = 4
_N_NAMED = 5
_NAN = "The method's activations or reconstructions are not all finite (NaN or infinity); nothing was measured."


@dataclass(frozen=True, repr=False)
class Concept:
    """One concept, described.

    Attributes:
        index: Its number, 0..n-1.
        class_name: Class whose probability it raises most where it is active; where that was not measured, the one on
            whose texts it is most active.
        active_class_name: Class on whose texts it is most active.
        key_words: Words that set its texts apart.
        activation_rate: Share of the texts on which it fires.
        tvd: Mean shift of the class probabilities when it is removed where it is active, 0..1.
        influence: The same over all texts: activation rate times TVD.
        concept_sim: Mean cosine between its clearly activating texts.
        top_texts: Numbers of the texts that activate it most, the strongest first.
        fires_with: Concepts that are active on the same texts (Jaccard of activating texts at least 0.5).
        points_with: Concepts of the same direction (cosine at least 0.7).
        name: A short name: one that a user gave, else phrases of its texts (see ``evals.phrases``); may be empty.
    """

    index: int
    class_name: str
    active_class_name: str
    key_words: tuple[str, ...]
    activation_rate: float
    tvd: float | None
    influence: float | None
    concept_sim: float | None
    top_texts: tuple[int, ...]
    fires_with: tuple[int, ...] = ()
    points_with: tuple[int, ...] = ()
    name: str = ""

    def __repr__(self) -> str:
        words = self.name or ", ".join(self.key_words[:_N_SHOWN])
        tvd = "" if self.tvd is None else f", TVD {number(self.tvd, True)}"
        return f"Concept({self.index}, {self.class_name}: {words}; fires on {number(self.activation_rate, True)}{tvd})"


@dataclass(frozen=True, repr=False)
class Evaluation(Table):
    """What the evaluations found.

    Attributes:
        measures: One ``Measures`` for each evaluation that was run, by name.
        concepts: The living concepts, the most influential first.
        warnings: What to be wary of.
        effects: What each concept does to the decisions; None where no evaluation took concepts away.
    """

    measures: dict[str, Measures]
    concepts: tuple[Concept, ...]
    warnings: tuple[str, ...] = ()
    effects: ConceptEffects | None = None

    @property
    def metrics(self) -> dict[str, Any]:
        """The headline numbers of all evaluations."""
        return merged_metrics(self.measures)

    def to_pandas(self) -> "pd.DataFrame":
        """A row a measure: its value, and its 95 % interval (``low``, ``high``) where it has one."""
        import pandas as pd

        metrics = self.metrics
        rows = [
            {
                "measure": name,
                "value": value,
                **dict(zip(("low", "high"), metrics.get(f"{name}_ci95") or (), strict=False)),
            }
            for name, value in metrics.items()
            if not name.endswith("_ci95") and not isinstance(value, list)
        ]
        return pd.DataFrame(rows, columns=["measure", "value", "low", "high"]).set_index("measure")

    def __repr__(self) -> str:
        shown = [
            f"{measure.column or measure.name} {number(self.metrics[measure.name], measure.in_percent)}"
            for measure in headlines()
            if measure.is_essential and self.metrics.get(measure.name) is not None
        ]
        n_warnings = len(self.warnings)
        warned = [f"{n_warnings} warning{'s' if n_warnings > 1 else ''}"] if n_warnings else []
        parts = [f"{len(self.concepts)} concepts", *shown, *warned]
        return f"Evaluation({', '.join(parts)})"


def evaluate(
    method: ConceptMethod | ClassifSAE,
    classifier: TextClassifier,
    store: ActivationStore,
    data: Any,
    cfg: EvaluateConfig | None = None,
    embeddings: torch.Tensor | None = None,
    known: Mapping[str, Measures] | None = None,
) -> Evaluation:
    """Measure completeness, causality and interpretability of a method's concepts.

    Args:
        method: A fitted concept method, or a trained ClassifSAE.
        classifier: The model it explains.
        store: Hidden states of the test texts.
        data: The test texts, as ``cache_states`` took them.
        cfg: Which evaluations, and how. Default: all, as in the paper.
        embeddings: float (N, e), sentence embeddings of the texts. Default: computed.
        known: Results of other evaluations of the same method with the same settings, to be taken along.

    Raises:
        UserError: If store, texts, model and SAE do not belong together.
    """
    cfg, data = cfg or EvaluateConfig(), as_text_data(data, classifier.class_names)
    method = as_concept_method(method)
    check_belong_together(method.autoencoder(), classifier, store, data)
    texts = TestPass(method, classifier, store, data, cfg, embeddings)
    needs = needs_of(cfg.evals)
    if texts.is_finite and needs & {"bottleneck", "ablations"}:
        texts.run_model("ablations" in needs)
    if not texts.is_finite:
        return Evaluation({}, (), (_NAN,))
    measures = dict(known or {})
    asked = {name: spec for name, spec in evaluations().items() if name in cfg.evals}
    for name, spec in tqdm(asked.items(), desc="Measuring", unit=" evaluations", delay=1):
        measures[name] = spec.measure(texts)
    concepts = _describe(texts, measures, data.class_names)
    effects = effects_of(texts) if "ablations" in needs else None
    return Evaluation(
        measures, concepts, tuple(_warnings(texts, measures, concepts, effects, data.class_names)), effects
    )


def _warnings(
    texts: TestPass,
    measures: Mapping[str, Measures],
    concepts: Sequence[Concept],
    effects: ConceptEffects | None,
    class_names: Sequence[str],
) -> Iterator[str]:
    """What to be wary of: first the classifier itself, then the concepts together, then single ones."""
    metrics, rule = merged_metrics(measures), texts.classifier.rule
    low, _ = metrics.get("original_accuracy_ci95") or (None, None)
    yield from Worth.of(texts.predicted, texts.labels, class_names, rule, low).warnings()
    yield from warnings_about(metrics, of_classif_sae=isinstance(texts.method.autoencoder(), ClassifSAE))
    apart = context_warning(metrics, texts.cfg.context)
    yield from [apart] if apart else []
    if effects is not None and (unraised := unraised_classes(effects, texts.predicted, rule)):
        yield (
            f"No concept clearly raises the probability of {_some([repr(class_names[one]) for one in unraised])}: what "
            "speaks for it is not among the concepts. Use more concepts (sae.n_concepts)."
        )
    n_silent = silent_concepts(measures)
    if 0 < n_silent < texts.concepts.shape[1]:
        yield f"{n_silent} of the {texts.concepts.shape[1]} concepts are never active on a test text."
    pairs = [(one.index, other) for one in concepts for other in one.fires_with if one.index < other]
    if pairs:
        named = _some([f"{one} and {other}" for one, other in sorted(pairs)])
        yield f"These concepts are active on the same texts, and say the same twice: {named}."


def _some(names: Sequence[str]) -> str:
    """The first of some names, and how many others there are."""
    others = len(names) - _N_NAMED
    return ", ".join(names[:_N_NAMED]) + (f" and {others} more" if others > 0 else "")


def silent_concepts(measures: Mapping[str, Measures]) -> int:
    """How many concepts are never active on a test text; 0 where that was not measured."""
    rates = _details(measures, "completeness", "activation_rate") or ()
    return sum(rate == 0 for rate in rates)


def check_belong_together(
    sae: SAE[Any] | None, classifier: TextClassifier, store: ActivationStore, data: TextData
) -> None:
    """Refuse hidden states of other texts, another model or another layer than those given.

    Raises:
        UserError: Naming what differs.
    """
    if store.fingerprints.data != data.fingerprint():
        raise UserError(f"{store.folder} was made from other texts than those given; run `cache` again")
    check_made_by(store, classifier)
    if sae is None:
        return
    if isinstance(sae, ClassifSAE) and sae.cfg.metadata.hook_name not in (None, store.hook_name):
        raise UserError(
            f"the SAE was trained at {sae.cfg.metadata.hook_name}, the states of {store.folder} are from "
            f"{store.hook_name}; train on states of the same hook"
        )
    if isinstance(sae, ClassifSAE) and sae.cfg.multi_label != store.multi_label:
        raise UserError(
            f"the SAE has multi_label {sae.cfg.multi_label}, the states of {store.folder} have {store.multi_label}; "
            "train on states of the same model"
        )
    n_classes = sae.cfg.n_classes if isinstance(sae, ClassifSAE) else store.n_classes
    if sae.cfg.d_in != store.d_in or n_classes != store.n_classes:
        raise UserError(
            f"the SAE has d_in {sae.cfg.d_in} and {n_classes} classes, the states of {store.folder} have "
            f"{store.d_in} and {store.n_classes}; train on states of the same model"
        )


def _texts_of_class(texts: TestPass) -> torch.Tensor:
    """For each concept the texts of the class on which it is most active, bool (N, n); none for a dead one."""
    holds = texts.classifier.rule.holds(texts.labels, texts.n_classes)
    classes = [texts.segments.class_of(index) for index in range(texts.concepts.shape[1])]
    nothing = torch.zeros(len(holds), dtype=torch.bool)
    return torch.stack([nothing if class_ is None else holds[:, class_] for class_ in classes], dim=1)


def _describe(texts: TestPass, measures: Mapping[str, Measures], class_names: Sequence[str]) -> tuple[Concept, ...]:
    words, member = _details(measures, "interpretability", "key_words"), activating_sets(texts.concepts)
    if words is None:
        words = key_words(texts.data.texts, member, _N_KEY_WORDS)
    alike = twins_by_concept(twins(member, texts.method.directions()))
    causal = _details(measures, "causality", "concepts")
    similar = _details(measures, "interpretability", "concept_sim")
    rates = (texts.concepts.abs() > FIRES).double().mean(dim=0).tolist()
    named = phrases(texts.data.texts, member, _texts_of_class(texts))
    order = texts.concepts.abs().argsort(dim=0, descending=True, stable=True)[: texts.cfg.top_texts]
    concepts = []
    for index in range(texts.concepts.shape[1]):
        class_ = texts.segments.class_of(index)
        if class_ is None:
            continue
        tvd, raised = (causal[index]["tvd"], causal[index]["raises"]) if causal else (None, None)
        fires_with, points_with = alike.get(index, ((), ()))
        active = texts.concepts[order[:, index], index].abs() > FIRES
        concepts.append(
            Concept(
                index=index,
                class_name=class_names[class_ if raised is None else raised],
                active_class_name=class_names[class_],
                key_words=tuple(words[index])[:_N_KEY_WORDS],
                activation_rate=rates[index],
                tvd=tvd,
                influence=rates[index] * tvd if tvd is not None else None,
                concept_sim=similar[index] if similar else None,
                top_texts=tuple(order[active, index].tolist()),
                fires_with=fires_with,
                points_with=points_with,
                name=named[index],
            )
        )
    return tuple(sorted(concepts, key=_rank))


def _details(measures: Mapping[str, Measures], evaluation: str, name: str) -> list[Any] | None:
    return measures[evaluation].details[name] if evaluation in measures else None


def _rank(concept: Concept) -> float:
    return -(concept.activation_rate if concept.influence is None else concept.influence)
