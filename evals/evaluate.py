"""Evaluate the concepts of an SAE on the test texts, and describe each of them."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from sae_lens import SAE

from sae_lens_classif.config.run import EvaluateConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.advice import warnings_about
from sae_lens_classif.evals.causality import conditional_causality, global_causality
from sae_lens_classif.evals.completeness import FIRES, completeness, reconstruction_quality
from sae_lens_classif.evals.embeddings import embed_texts
from sae_lens_classif.evals.interpretability import activating_sets, interpretability
from sae_lens_classif.evals.keywords import key_words
from sae_lens_classif.evals.results import Measures, merged_metrics
from sae_lens_classif.evals.segments import Segments, segment_heads, segments
from sae_lens_classif.evals.topic_coherence import topic_coherence
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.interventions import InterventionLogits, run_interventions
from sae_lens_classif.methods.base import ConceptMethod
from sae_lens_classif.methods.classif_sae import as_concept_method
from sae_lens_classif.saes.classif_sae import ClassifSAE
from sae_lens_classif.store.store import ActivationStore

_CHUNK = 8192
_N_KEY_WORDS = 8
_N_COHERENCE_WORDS = 10
_N_CLOUD_WORDS = 40
_NAN = "The method's activations or reconstructions are not all finite (NaN or infinity); nothing was measured."


@dataclass(frozen=True)
class Concept:
    """One concept, described.

    Attributes:
        index: Its number, 0..n-1.
        class_name: Class on whose texts it is most active.
        key_words: Words that set its texts apart.
        activation_rate: Share of the texts on which it fires.
        tvd: Mean shift of the class probabilities when it is removed where it is active, 0..1.
        influence: The same over all texts: activation rate times TVD.
        concept_sim: Mean cosine between its clearly activating texts.
        top_texts: Numbers of the texts that activate it most, the strongest first.
    """

    index: int
    class_name: str
    key_words: tuple[str, ...]
    activation_rate: float
    tvd: float | None
    influence: float | None
    concept_sim: float | None
    top_texts: tuple[int, ...]


@dataclass(frozen=True)
class Evaluation:
    """What the evaluations found.

    Attributes:
        measures: One ``Measures`` for each evaluation that was run, by name.
        concepts: The living concepts, the most influential first.
        warnings: What to be wary of.
    """

    measures: dict[str, Measures]
    concepts: tuple[Concept, ...]
    warnings: tuple[str, ...] = field(default=())

    @property
    def metrics(self) -> dict[str, Any]:
        """The headline numbers of all evaluations."""
        return merged_metrics(self.measures)


def evaluate(
    method: ConceptMethod | ClassifSAE,
    classifier: TextClassifier,
    store: ActivationStore,
    data: TextData,
    cfg: EvaluateConfig | None = None,
    embeddings: torch.Tensor | None = None,
    known: Mapping[str, Measures] | None = None,
) -> Evaluation:
    """Measure completeness, causality and interpretability of a method's concepts.

    Args:
        method: A fitted concept method, or a trained ClassifSAE.
        classifier: The model it explains.
        store: Hidden states of the test texts.
        data: The test texts.
        cfg: Which evaluations, and how. Default: all, as in the paper.
        embeddings: float (N, e), sentence embeddings of the texts. Default: computed.
        known: Results of other evaluations of the same method with the same settings, to be taken along.

    Raises:
        UserError: If store, texts, model and SAE do not belong together.
    """
    cfg = cfg or EvaluateConfig()
    method = as_concept_method(method)
    check_belong_together(method.autoencoder(), classifier, store, data)
    hidden = store.read("hidden").float()
    measured = _Measured(method, hidden, store, data, cfg, dict(known or {}))
    if measured.has_nan():
        return Evaluation({}, (), (_NAN,))
    if "completeness" in cfg.evals or "causality" in cfg.evals:
        measured.intervene(classifier)
        if measured.has_nan():
            return Evaluation({}, (), (_NAN,))
    if "completeness" in cfg.evals:
        measured.completeness()
    if "causality" in cfg.evals:
        measured.causality()
    if "interpretability" in cfg.evals:
        if embeddings is None:
            embeddings = embed_texts(data.texts, cfg.sentence_encoder, cfg.device)
        measured.interpretability(embeddings)
    return measured.evaluation()


def check_belong_together(
    sae: SAE[Any] | None, classifier: TextClassifier, store: ActivationStore, data: TextData
) -> None:
    """Refuse hidden states of other texts, another model or another layer than those given.

    Raises:
        UserError: Naming what differs.
    """
    if store.fingerprints.data != data.fingerprint():
        raise UserError(f"{store.folder} was made from other texts than those given; run `cache` again")
    if store.fingerprints.model != classifier.model_fingerprint:
        raise UserError(
            f"{store.folder} was made with another model (fingerprint {store.fingerprints.model[:16]}) than "
            f"{classifier.name} ({classifier.model_fingerprint[:16]}); run `cache` again"
        )
    if store.fingerprints.prompt != classifier.prompt_fingerprint():
        raise UserError(
            f"{store.folder} was made with another prompt, other classes or at another hook ({store.hook_name}) than "
            f"{classifier.name} is opened with ({classifier.hook_name}); open it as `cache` did, or run `cache` again"
        )
    if sae is None:
        return
    if isinstance(sae, ClassifSAE) and sae.cfg.metadata.hook_name not in (None, store.hook_name):
        raise UserError(
            f"the SAE was trained at {sae.cfg.metadata.hook_name}, the states of {store.folder} are from "
            f"{store.hook_name}; train on states of the same hook"
        )
    n_classes = sae.cfg.n_classes if isinstance(sae, ClassifSAE) else store.n_classes
    if sae.cfg.d_in != store.d_in or n_classes != store.n_classes:
        raise UserError(
            f"the SAE has d_in {sae.cfg.d_in} and {n_classes} classes, the states of {store.folder} have "
            f"{store.d_in} and {store.n_classes}; train on states of the same model"
        )


class _Measured:
    """Collects the measures of one method; each step adds one evaluation."""

    def __init__(
        self,
        method: ConceptMethod,
        hidden: torch.Tensor,
        store: ActivationStore,
        data: TextData,
        cfg: EvaluateConfig,
        measures: dict[str, Measures],
    ) -> None:
        self._method, self._hidden, self._data, self._cfg = method, hidden, data, cfg
        self._predicted = store.read("predicted")
        self._labels = store.read("label")
        with torch.no_grad():
            self._concepts = torch.cat([method.encode(part).float() for part in hidden.split(_CHUNK)])
        self._segments: Segments = segments(self._concepts, self._labels, store.n_classes)
        self._logits: InterventionLogits | None = None
        self._measures = measures

    def has_nan(self) -> bool:
        """Whether activations or, once the interventions were run, what they lead to are not all finite."""
        found = [self._concepts]
        if self._logits is not None:
            found += [self._logits.bottleneck, self._logits.pair, self._logits.groups]
        return not all(bool(values.isfinite().all()) for values in found)

    def intervene(self, classifier: TextClassifier) -> None:
        heads = segment_heads(self._segments.by_class) if "causality" in self._cfg.evals else []
        groups = torch.zeros(len(heads), self._concepts.shape[1], dtype=torch.bool)
        for row, (_, _, concepts) in enumerate(heads):
            groups[row, list(concepts)] = True
        self._logits = run_interventions(
            classifier,
            self._method.decode,
            self._hidden,
            self._concepts,
            groups=groups,
            pairs="causality" in self._cfg.evals,
            texts=self._data.texts if self._cfg.context == "in_context" else None,
            batch_size=self._cfg.batch_size,
        )

    def completeness(self) -> None:
        assert self._logits is not None
        measures = completeness(
            self._predicted,
            self._logits.bottleneck,
            self._labels,
            self._concepts,
            n_bootstrap=self._cfg.n_bootstrap,
            seed=self._cfg.seed,
        )
        sae = self._method.autoencoder()
        if sae is not None:
            measures.metrics.update(reconstruction_quality(self._batches(sae), sae.encode, sae))
        if isinstance(sae, ClassifSAE):
            measures.metrics["head_agreement"] = self._head_agreement(sae)
        self._measures["completeness"] = measures

    def _batches(self, sae: SAE[Any]) -> Iterator[torch.Tensor]:
        return (part.to(sae.device, sae.dtype) for part in self._hidden.split(_CHUNK))

    def _head_agreement(self, sae: ClassifSAE) -> float:
        with torch.no_grad():
            logits = sae.classify(self._concepts.to(sae.device)).cpu()
        return float((logits.argmax(dim=-1) == self._predicted).double().mean())

    def causality(self) -> None:
        assert self._logits is not None
        logits = self._logits
        measures = conditional_causality(
            logits.bottleneck,
            logits.pair_text,
            logits.pair_concept,
            logits.pair,
            self._labels,
            self._concepts.shape[1],
            n_bootstrap=self._cfg.n_bootstrap,
            seed=self._cfg.seed,
        )
        measures.details["segments"] = [list(own) for own in self._segments.by_class]
        measures.details["global"] = global_causality(logits.bottleneck, logits.groups, self._labels, self._segments)
        self._measures["causality"] = measures

    def interpretability(self, embeddings: torch.Tensor) -> None:
        measures = interpretability(self._concepts, embeddings, n_bootstrap=self._cfg.n_bootstrap, seed=self._cfg.seed)
        words = key_words(self._data.texts, activating_sets(self._concepts), _N_CLOUD_WORDS)
        coherence = topic_coherence([list(own)[:_N_COHERENCE_WORDS] for own in words], self._data.texts)
        measures.metrics.update(coherence.metrics)
        measures.details.update(coherence.details, key_words=words)
        self._measures["interpretability"] = measures

    def evaluation(self) -> Evaluation:
        return Evaluation(self._measures, self._describe(), tuple(warnings_about(merged_metrics(self._measures))))

    def _describe(self) -> tuple[Concept, ...]:
        words = self._details("interpretability", "key_words")
        if words is None:
            words = key_words(self._data.texts, activating_sets(self._concepts), _N_KEY_WORDS)
        rates = (self._concepts.abs() > FIRES).double().mean(dim=0).tolist()
        causal = self._details("causality", "concepts")
        similar = self._details("interpretability", "concept_sim")
        order = self._concepts.abs().argsort(dim=0, descending=True, stable=True)[: self._cfg.top_texts]
        concepts = []
        for index in range(self._concepts.shape[1]):
            class_ = self._segments.class_of(index)
            if class_ is None:
                continue
            tvd = causal[index]["tvd"] if causal else None
            active = self._concepts[order[:, index], index].abs() > FIRES
            concepts.append(
                Concept(
                    index=index,
                    class_name=self._data.class_names[class_],
                    key_words=tuple(words[index])[:_N_KEY_WORDS],
                    activation_rate=rates[index],
                    tvd=tvd,
                    influence=rates[index] * tvd if tvd is not None else None,
                    concept_sim=similar[index] if similar else None,
                    top_texts=tuple(order[active, index].tolist()),
                )
            )
        return tuple(sorted(concepts, key=_rank))

    def _details(self, evaluation: str, name: str) -> list[Any] | None:
        measures = self._measures.get(evaluation)
        return measures.details[name] if measures else None


def _rank(concept: Concept) -> float:
    return -(concept.activation_rate if concept.influence is None else concept.influence)


def describe_concepts(concepts: tuple[Concept, ...]) -> list[dict[str, Any]]:
    """Concepts as JSON can hold them; texts appear by number only."""
    return [asdict(concept) for concept in concepts]
