"""What a report shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sae_lens_classif.audit.stable_concepts import Stability
from sae_lens_classif.decisions import decision_rule
from sae_lens_classif.evals.classifier_scores import ClassifierScores, ClassScores
from sae_lens_classif.evals.comparison import ComparedMethod
from sae_lens_classif.evals.concept_effects import MisledText
from sae_lens_classif.evals.slices import Slice, WordCounts
from sae_lens_classif.evals.worth import Worth
from sae_lens_classif.explaining.explanation import Explanation

LENGTH = ""  # the kind of slices that no column makes


@dataclass(frozen=True)
class ShownText:
    """A test text.

    Attributes:
        text: The text.
        predicted: Number of the class that the model predicts, or the set of labels (see ``decisions``).
        gold: The same of its own.
        explanation: Why it got its class; None where that was not worked out.
    """

    text: str
    predicted: int
    gold: int
    explanation: Explanation | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether the model predicts another class than its own."""
        return self.predicted != self.gold


@dataclass(frozen=True)
class ShownConcept:
    """A concept that is active on some test text.

    Attributes:
        index: Its number.
        class_number: Class whose probability it raises most; where that was not measured, as below.
        active_class_number: Class on whose texts it is most active.
        weights: Its key words, the most telling first, each with its weight.
        activation_rate: Share of the texts on which it fires.
        n_texts: Number of the texts on which it is active.
        tvd: Mean shift of the class probabilities without it, where it is active; None where that was not measured.
        flips: Share of these texts whose class changes without it; None where that was not measured.
        concept_sim: Mean cosine between its clearly activating texts; None where that was not measured.
        effects: What it adds to the probability of each class, mean over the texts where it is active.
        rate_on_wrong: Share of the wrongly decided texts on which it fires.
        rate_on_right: Share of the rightly decided texts on which it fires.
        top_texts: Numbers of the texts that activate it most, the strongest first.
        wrong_texts: Numbers of some wrongly decided texts on which it fires.
        fires_with: Numbers of the concepts that are active on the same texts.
        points_with: Numbers of those of the same direction.
        given_name: A short name; may be empty.
        is_more_on_wrong: Whether it fires more often on wrong decisions than on right ones, beyond chance.
        histogram: Number of texts by its activation, in steps of equal width up to ``largest``.
        largest: Its largest activation.
        by_strength: What it adds to the class that it raises most, where it is least active first; empty where it is
            active on too few texts.
        slopes: How fast its direction by itself raises each class logit; empty where it has no direction.
        nearest: The concepts whose directions are most like its own, each with the cosine.
        same_words: Numbers of the concepts with whose key words it shares at least half.
    """

    index: int
    class_number: int
    active_class_number: int
    weights: Mapping[str, float]
    activation_rate: float
    n_texts: int
    tvd: float | None
    flips: float | None
    concept_sim: float | None
    effects: tuple[float, ...]
    rate_on_wrong: float
    rate_on_right: float
    top_texts: tuple[int, ...]
    wrong_texts: tuple[int, ...]
    fires_with: tuple[int, ...] = ()
    points_with: tuple[int, ...] = ()
    given_name: str = ""
    is_more_on_wrong: bool = False
    histogram: tuple[int, ...] = ()
    largest: float = 0.0
    by_strength: tuple[float, ...] = ()
    slopes: tuple[float, ...] = ()
    nearest: tuple[tuple[int, float], ...] = ()
    same_words: tuple[int, ...] = ()

    @property
    def raised(self) -> int:
        """Number of the class whose probability it raises most where it is active."""
        return max(range(len(self.effects)), key=self.effects.__getitem__)

    @property
    def influence(self) -> float | None:
        """Mean shift of the class probabilities without it, over all texts; None where that was not measured."""
        return None if self.tvd is None else self.activation_rate * self.tvd

    @property
    def name(self) -> str:
        """Its name, else its first key words."""
        return self.given_name or ", ".join(list(self.weights)[:4])


@dataclass(frozen=True)
class DefaultClass:
    """The class that the model says most where it sees what stands for no concept at all.

    Attributes:
        class_number: The class.
        share: On what share of the texts.
        probabilities: Of each class, mean over all texts.
    """

    class_number: int
    share: float
    probabilities: tuple[float, ...]

    @property
    def next_class(self) -> int:
        """Of the other classes the most probable."""
        others = [number for number in range(len(self.probabilities)) if number != self.class_number]
        return max(others, key=self.probabilities.__getitem__)


@dataclass(frozen=True)
class Mistakes:
    """Wrong decisions.

    Attributes:
        n_wrong: Number of the wrongly decided texts.
        n_misled: Number of those that an active concept pushes towards the wrong class.
        n_righted: Number of those whose class through the concepts is right without the one that pushes most, and not
            with it.
        shown: Some of them, the strongest push first.
    """

    n_wrong: int
    n_misled: int
    n_righted: int
    shown: tuple[MisledText, ...]


@dataclass(frozen=True)
class Report:
    """All that the page shows.

    Attributes:
        run: Name of the run.
        method: Name of the method whose concepts are shown.
        title: How tables call it.
        model: The classifier in a few words.
        data: The texts in a few words.
        summary: Content of ``summary.json``.
        entry: The method's measures in it.
        class_names: Names of the C classes.
        scores: How good the classifier itself is.
        seed: Seed of the method's fit.
        is_measured: Whether the concepts gave numbers at all, and not NaN.
        n_concepts: Number of concepts, those included that are never active.
        concepts: Those that are active somewhere, the most influential first.
        texts: By number, those that some part of the report shows.
        default_class: What the model says with no concept at all; None where nothing was measured, or in the context of
            the earlier words, which speak too.
        mistakes: The wrong decisions.
        concept_map: The map of texts and concepts, as SVG; None where nothing was measured.
        comparison: Methods side by side; empty where none were compared.
        tradeoffs: What each of them gives up, as SVG; None where there is nothing to compare.
        settings: Settings of the run, as YAML.
        fingerprints: What identifies the model, the texts, the SAE, and the versions that wrote the report.
        stability: The concepts in other trainings; None where that was not looked at.
        multi_label: Whether a text may have several of the classes, or none.
        slices: Parts of the texts by their length (``LENGTH``) and by columns of the data, each under its name.
        words: The words that are not rare, with how the texts that hold them are decided.
        note: What whoever opens the page should know of the texts first; may be empty.
        is_masked: Whether handles and addresses on the web are masked in the texts.
        worth: How well the classifier does beside the simplest one.
    """

    run: str
    method: str
    title: str
    model: str
    data: str
    summary: Mapping[str, Any]
    entry: Mapping[str, Any]
    class_names: Sequence[str]
    scores: ClassifierScores
    worth: Worth
    seed: int
    is_measured: bool
    n_concepts: int
    concepts: Sequence[ShownConcept]
    texts: Mapping[int, ShownText]
    default_class: DefaultClass | None
    mistakes: Mistakes
    concept_map: str | None
    comparison: Sequence[ComparedMethod]
    tradeoffs: str | None
    settings: str
    fingerprints: Mapping[str, str]
    stability: Stability | None = None
    multi_label: bool = False
    slices: Mapping[str, Sequence[Slice]] = field(default_factory=dict)
    words: Mapping[str, WordCounts] = field(default_factory=dict)
    note: str = ""
    is_masked: bool = False

    def decision_in_words(self, decision: int) -> str:
        """Name of a class, or names of a set of labels."""
        return decision_rule(self.multi_label).in_words(decision, self.class_names)

    @property
    def class_scores(self) -> Sequence[ClassScores]:
        """How well each class is known."""
        return self.scores.by_class

    def taken_for(self, number: int) -> tuple[int, float] | None:
        """The other class that most texts of a class get, and their share; None where all get their own."""
        if self.scores.confusion is None:
            return None
        given = self.scores.confusion[number].tolist()
        other = max((other for other in range(len(given)) if other != number), key=given.__getitem__)
        return (other, given[other] / sum(given)) if given[other] else None

    @property
    def by_index(self) -> Mapping[int, ShownConcept]:
        """Concepts by their numbers."""
        return {concept.index: concept for concept in self.concepts}
