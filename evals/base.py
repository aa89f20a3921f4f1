"""What an evaluation is, which there are, and what each is given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from pydantic import BaseModel

from sae_lens_classif.config.run import EvaluateConfig, evaluation_names
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.evals.ablation import at_same_rates, replacements
from sae_lens_classif.evals.embeddings import embed_texts
from sae_lens_classif.evals.measures import Measure
from sae_lens_classif.evals.results import Measures
from sae_lens_classif.evals.segments import Segments, leading_concepts, segments
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.interventions import (
    Decode,
    InterventionLogits,
    Rescale,
    run_interventions,
    to_original_norm,
)
from sae_lens_classif.methods.base import ConceptMethod
from sae_lens_classif.plugins import declared
from sae_lens_classif.store.store import ActivationStore

FIRES = 1e-6
CHUNK = 8192  # texts encoded at once
_FEW = 1000
Need = Literal["bottleneck", "ablations", "embeddings"]


class Exact(BaseModel, extra="forbid"):
    """A part of a JSON file, without any key that it does not name."""


@dataclass(frozen=True)
class EvaluationSpec:
    """An evaluation; a module declares it as ``EVALUATION`` and gives it its own name.

    Attributes:
        about: What it finds out, in a sentence.
        measures: What it gives, in the order of its JSON file.
        measure: Gives them.
        details: The numbers a class, concept or ablation that stand beside them. Default: none.
        needs: What is worked out before: the model's decisions through the concepts alone (``bottleneck``), those
            without each concept too (``ablations``), sentence ``embeddings``. Default: activations are enough.
    """

    about: str
    measures: tuple[Measure, ...]
    measure: "Callable[[TestPass], Measures]"
    details: type[BaseModel] = Exact
    needs: frozenset[Need] = frozenset()


def evaluations() -> Mapping[str, EvaluationSpec]:
    """All evaluations by name: the modules of this folder that declare one, and those of other packages.

    Raises:
        UserError: If one of another package cannot be imported.
    """
    found = declared("evals", "EVALUATION")
    return {name: found[name] for name in evaluation_names()}


def needs_of(names: tuple[str, ...]) -> set[Need]:
    """What some evaluations need together."""
    return {need for name in names for need in evaluations()[name].needs}


@dataclass(frozen=True)
class Bottleneck:
    """Concepts, and how they take the place of hidden states.

    Attributes:
        concepts: float32 (N, n), activations.
        replacements: float (N, n), what takes the place of an activation that is ablated.
        decode: From concepts (m, n) to hidden states (m, d_in).
        rescale: Brings what is decoded to the scale of hidden states.
    """

    concepts: torch.Tensor
    replacements: torch.Tensor
    decode: Decode
    rescale: Rescale


class TestPass:
    """The test texts as a method sees them: encoded once, and run through the model once, for all evaluations.

    Attributes:
        method: The method.
        classifier: The model that it explains, for interventions of an evaluation's own.
        hidden: float32 (N, d_in), hidden states.
        data: The texts.
        cfg: How they are measured.
        n_classes: Number of classes C.
        predicted: int64 (N,), the model's classes.
        labels: int64 (N,), gold labels.
        concepts: float32 (N, n), activations.
        segments: Concepts by class.
    """

    __test__ = False  # no test of pytest's

    def __init__(
        self,
        method: ConceptMethod,
        classifier: TextClassifier,
        store: ActivationStore,
        data: TextData,
        cfg: EvaluateConfig,
        embeddings: torch.Tensor | None = None,
    ) -> None:
        """
        Args:
            method: A fitted concept method.
            classifier: The model.
            store: Hidden states of the test texts.
            data: The test texts.
            cfg: How they are measured.
            embeddings: float (N, e), sentence embeddings. Default: computed when they are first needed.
        """
        self.method, self.classifier, self.data, self.cfg = method, classifier, data, cfg
        self._embeddings = embeddings
        self.hidden = store.read("hidden").float()
        self.predicted, self.labels = store.read("predicted"), store.read("label")
        self.n_classes = store.n_classes
        self.concepts = activations_of(method, self.hidden)
        self.segments: Segments = segments(self.concepts, self.labels, store.n_classes, store.rule)
        self._logits: InterventionLogits | None = None
        self._with_ablations = False

    def run_model(self, with_ablations: bool) -> None:
        """Run the rest of the model from the concepts alone.

        Args:
            with_ablations: Whether to run it without each active concept too, and without the first concepts of each
                class (in the order of ``leading_concepts``).
        """
        everything = range(self.concepts.shape[1])
        sets = [own for _, _, own in leading_concepts(self.segments.by_class)] if with_ablations else []
        groups = torch.tensor([[concept in own for concept in everything] for own in sets], dtype=torch.bool)
        self._with_ablations = with_ablations
        self._logits = self._run(groups=groups)

    def _run(self, through: Bottleneck | None = None, **changed: Any) -> InterventionLogits:
        """Run the model as the settings say, but for what is ``changed``, through the method's concepts or others."""
        settings = {
            **vars(through or self.bottleneck),
            "hidden": self.hidden,
            "pairs": self._with_ablations,
            "texts": self.kept_texts,
            "batch_size": self.cfg.batch_size,
        }
        return run_interventions(self.classifier, **{**settings, **changed})

    def _bottleneck(self, method: ConceptMethod, concepts: torch.Tensor) -> Bottleneck:
        rescale = to_original_norm if self.cfg.norm == "original" else method.in_own_norm
        return Bottleneck(concepts, replacements(concepts, self.cfg.ablation, self.cfg.seed), method.decode, rescale)

    @cached_property
    def bottleneck(self) -> Bottleneck:
        """What takes the place of the hidden states."""
        return self._bottleneck(self.method, self.concepts)

    @cached_property
    def chance(self) -> Bottleneck:
        """A control: random directions at the same activation rates."""
        concepts, control = at_same_rates(self.hidden, self.concepts, self.cfg.seed)
        return self._bottleneck(control, concepts)

    @property
    def kept_texts(self) -> Sequence[str] | None:
        """The texts where their earlier tokens are kept (in context); None where each state is run on alone."""
        return self.data.texts if self.cfg.context == "in_context" else None

    @cached_property
    def few(self) -> torch.Tensor:
        """Numbers of some of the texts, evenly spread, for what would take long on all: int64 (m,), m at most 1,000."""
        n_texts = len(self.hidden)
        return torch.arange(n_texts) if n_texts <= _FEW else torch.arange(_FEW) * n_texts // _FEW

    @cached_property
    def in_other_context(self) -> InterventionLogits | None:
        """What the model says of the ``few`` texts in the context that ``evaluate.context`` does not name.

        None where that is too dear: the earlier tokens would be run through more than one block for every intervention.
        """
        is_alone = self.cfg.context == "alone"
        if is_alone and self.classifier.n_blocks_after_hook != 1:
            return None
        texts = [self.data.texts[number] for number in self.few.tolist()] if is_alone else None
        ours = self.bottleneck
        few = replace(ours, concepts=ours.concepts[self.few], replacements=ours.replacements[self.few])
        return self._run(few, hidden=self.hidden[self.few], texts=texts)

    @cached_property
    def in_other_norm(self) -> InterventionLogits:
        """What the model says with the norm that ``evaluate.norm`` does not name; without ablations."""
        rescale = self.method.in_own_norm if self.cfg.norm == "original" else to_original_norm
        return self._run(pairs=False, rescale=rescale)

    @cached_property
    def by_chance(self) -> InterventionLogits:
        """What the model says through the control."""
        return self._run(self.chance)

    @property
    def logits(self) -> InterventionLogits:
        """What the model says; an evaluation that reads it must need ``bottleneck`` or ``ablations``."""
        if self._logits is None:
            raise RuntimeError('the model was not run; EvaluationSpec(needs={"bottleneck"}) asks for it')
        return self._logits

    @cached_property
    def embeddings(self) -> torch.Tensor:
        """Sentence embeddings of the texts, float (N, e)."""
        if self._embeddings is None:
            return embed_texts(self.data.texts, self.cfg.sentence_encoder, self.cfg.device)
        return self._embeddings

    @property
    def is_finite(self) -> bool:
        """Whether activations and, once the model was run, what they lead to hold neither NaN nor infinity."""
        found = [self.concepts]
        if self._logits is not None:
            # What is said with no concept at all need not be: it is asked of the floor alone.
            found += [self._logits.bottleneck, self._logits.pair, self._logits.groups]
        return all(bool(values.isfinite().all()) for values in found)


@torch.no_grad()
def activations_of(method: ConceptMethod, hidden: torch.Tensor) -> torch.Tensor:
    """Activations of a method's concepts, float32 (N, n).

    Args:
        method: A fitted method.
        hidden: float32 (N, d_in), hidden states.
    """
    return torch.cat([method.encode(part).float() for part in hidden.split(CHUNK)])


def interval_settings(texts: TestPass) -> dict[str, Any]:
    """The settings of resampling, for an evaluation's function."""
    return {"n_bootstrap": texts.cfg.n_bootstrap, "seed": texts.cfg.seed}
