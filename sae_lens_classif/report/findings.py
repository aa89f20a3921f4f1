"""What the numbers of a report say, in words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch

from sae_lens_classif.audit.stable_concepts import does_it_come_back, what_matters, when_it_comes_back
from sae_lens_classif.evals.comparison import ComparedMethod
from sae_lens_classif.evals.concept_effects import CLEAR_DEFAULT, MisledText, raised_most
from sae_lens_classif.evals.measures import CANNOT_BE_SCALED, OTHER_CONTEXT, RANDOM, find_measure, is_above_floor
from sae_lens_classif.methods.listing import titles
from sae_lens_classif.report.view import DefaultClass, Report, ShownConcept
from sae_lens_classif.runs.folder import METHOD
from sae_lens_classif.runs.tables import CONTROLS, is_beaten, too_few_resamples
from sae_lens_classif.wording import number

Verdict = Literal["yes", "partly", "no", "unknown"]
About = Literal["classifier", "sufficiency", "cause", "frequency", "likeness", "chance", "numbers", "same concepts"]
_QUESTIONS: Mapping[About, str] = {
    "classifier": "Is the classifier worth explaining?",
    "sufficiency": "Do the concepts suffice?",
    "cause": "Do they cause the decisions?",
    "frequency": "Are they specific?",
    "likeness": "Do a concept's texts have something in common?",
    "chance": "Is it more than chance?",
    "numbers": "Do other trainings give the same numbers?",
    "same concepts": "Does another training find the same concepts?",
}
# Where one of these fails, the concepts explain nothing, whatever else holds.
ESSENTIAL: tuple[About, ...] = ("classifier", "sufficiency", "cause", "chance")
_CLEAR_PUSH = 0.1
_NEARLY_ALL = 0.95  # of the decisions
_LONG_TEXT = 300  # characters; shorter ones are better examples


@dataclass(frozen=True)
class Finding:
    """An answer to what a reader must know before trusting the concepts.

    Attributes:
        about: What it is about.
        verdict: Its answer in one word.
        answer: The same in a few words.
        evidence: The numbers behind it, in sentences.
        command: What would find out; empty where that is known.
    """

    about: About
    verdict: Verdict
    answer: str
    evidence: str
    command: str = ""

    @property
    def question(self) -> str:
        """The question that it answers."""
        return _QUESTIONS[self.about]


@dataclass(frozen=True)
class Reliance:
    """The concept that a class relies on most.

    Attributes:
        class_number: The class.
        concept: The concept that adds most to its probability, over all texts.
        adds: How much, mean over all texts, 0..1.
    """

    class_number: int
    concept: ShownConcept
    adds: float

    @property
    def adds_where_active(self) -> float:
        """How much, mean over the texts where it is active, 0..1."""
        return self.concept.effects[self.class_number]


def reliances(report: Report) -> tuple[Reliance, ...]:
    """Find for every class the concept that speaks for it most; none for a class that none clearly raises
    or that is never decided.

    Returns:
        In the order of the classes.
    """
    n_texts: int = report.summary["n_test_texts"]
    adds = torch.zeros(len(report.concepts), len(report.class_names), dtype=torch.float64)
    for row, concept in enumerate(report.concepts):
        adds[row] = torch.tensor(concept.effects, dtype=torch.float64) * concept.n_texts / n_texts
    return tuple(
        Reliance(class_number, report.concepts[most], float(adds[most, class_number]))
        for class_number, most in enumerate(raised_most(adds))
        if most is not None and report.class_scores[class_number].precision is not None
    )


def unraised_classes(report: Report) -> list[int]:
    """Classes that are decided, but that no concept clearly raises."""
    default = clear_default(report)
    raised = {reliance.class_number for reliance in reliances(report)}
    raised |= set() if default is None else {default.class_number}  # which is said with no concept, and needs none
    return [
        number
        for number, scores in enumerate(report.class_scores)
        if scores.precision is not None and number not in raised
    ]


def clear_default(report: Report) -> DefaultClass | None:
    """The class that the model says with no concept at all; None where that is not nearly always the same."""
    default = report.default_class
    return default if default is not None and default.share >= CLEAR_DEFAULT else None


def telling_mistake(report: Report) -> MisledText | None:
    """The wrong decision that shows best how a concept misleads: right without it, and a short text if there is one.

    None where no concept rights a text, nor adds much to a wrong class.
    """
    righted = [mistake for mistake in report.mistakes.shown if mistake.is_righted]
    short = [mistake for mistake in righted if len(report.texts[mistake.row].text) <= _LONG_TEXT]
    clear = [mistake for mistake in report.mistakes.shown if mistake.for_wrong >= _CLEAR_PUSH]
    return next(iter([*short, *righted, *clear]), None)


def findings(report: Report) -> Iterator[Finding]:
    """Answer the questions that decide whether the concepts can be trusted."""
    entry = report.entry
    yield _knows_the_classes(report)
    yield _suffice(report) if entry.get("recovery_accuracy") is not None else _not_measured("sufficiency")
    yield _cause(report) if entry.get("conditional_tvd") is not None else _not_measured("cause")
    if entry.get("max_activation_rate") is not None:
        yield _specific(report)
    if entry.get("concept_sim") is not None:
        yield _belong_together(report)
    yield _better_than_chance(report)
    yield _found_again(report)
    yield _comes_back(report)


def _not_measured(about: About) -> Finding:
    command = "sae-lens-classif evaluate --run RUN --evaluate.evals [completeness,causality]"
    return Finding(about, "unknown", "Not measured", "No number says so.", command)


def _is_poor(measure: str, value: float) -> bool:
    return find_measure(measure).passed(value) is not None


def _interval(report: Report, name: str, in_percent: bool = True) -> str:
    limits = report.entry.get(f"{name}_ci95")
    if not limits or None in limits:
        return ""
    return f" (95 % interval {' to '.join(number(limit, in_percent) for limit in limits)})"


def _otherwise(report: Report, name: str, sentence: str) -> str:
    """A sentence about a number that was measured otherwise, after a blank; nothing where it was not measured."""
    value = report.entry.get(name)
    return "" if value is None else f" {sentence.format(number(value, True))}"


def _knows_the_classes(report: Report) -> Finding:
    worth = report.worth
    if not worth.is_better:
        return Finding("classifier", "no", "No: it is hardly better than always saying the same", worth.evidence)
    if worth.missed is not None:
        return Finding("classifier", "partly", f"In part: it misses most texts of {worth.missed[0]!r}", worth.evidence)
    if worth.never:
        return Finding("classifier", "partly", "In part: some classes it never says", worth.evidence)
    return Finding("classifier", "yes", "Yes: it does better than always saying the same", worth.evidence)


def _suffice(report: Report) -> Finding:
    entry, share = report.entry, report.entry["scaled_recovery"]
    if share is None:
        return Finding("sufficiency", "unknown", "Cannot be said", CANNOT_BE_SCALED)
    verdict: Verdict = "yes" if share >= _NEARLY_ALL else "no" if _is_poor("scaled_recovery", share) else "partly"
    answer = {
        "yes": "Yes: they carry nearly everything the model uses",
        "partly": "Mostly: they miss a little of what the model uses",
        "no": "No: they miss part of what the model uses",
    }[verdict]
    evidence = (
        f"When the model sees nothing but the {report.n_concepts} concepts, it decides "
        f"{number(entry['recovery_accuracy'], True)} of the texts as before{_interval(report, 'recovery_accuracy')}; "
        f"with no concept at all {number(entry['recovery_floor'], True)}, with its hidden state untouched "
        f"{number(entry['recovery_ceiling'], True)}: the concepts go {number(share, True)} of that way. Its accuracy "
        f"is then {number(entry['bottleneck_accuracy'], True)}, before it was "
        f"{number(entry['original_accuracy'], True)}. No concept is active on "
        f"{number(entry['unexplained_texts'], True)} of the texts; the class that comes off worst keeps "
        f"{number(entry['worst_class_recovery'], True)} of its decisions."
    )
    context = "With the earlier tokens kept" if entry["context"] == "alone" else "With the state run on alone"
    evidence += _otherwise(report, f"scaled_recovery{OTHER_CONTEXT}", f"{context} the concepts go {{}} of that way.")
    evidence += _otherwise(report, f"scaled_recovery{RANDOM}", "Random directions, active as often, go {}.")
    return Finding("sufficiency", verdict, answer, evidence)


def _cause(report: Report) -> Finding:
    shift = report.entry["conditional_tvd"]
    evidence = (
        f"An average concept, taken away from the texts on which it is active, moves {number(shift, True)} of their "
        f"probability to other classes{_interval(report, 'conditional_tvd')} and gives "
        f"{number(report.entry['conditional_label_flip_rate'], True)} of them another class."
    )
    evidence += _otherwise(report, f"conditional_tvd{RANDOM}", "Random directions, active as often, move {}.")
    if _is_poor("conditional_tvd", shift):
        return Finding("cause", "no", "Hardly: without one, nearly nothing changes", evidence)
    return Finding("cause", "yes", "Yes: without one, the class probabilities move", evidence)


def _specific(report: Report) -> Finding:
    largest, mean = report.entry["max_activation_rate"], report.entry["mean_activation_rate"]
    evidence = (
        f"A concept is active on {number(mean, True)} of the texts, mean over all {report.n_concepts} concepts; "
        f"the most frequent one on {number(largest, True)}{_interval(report, 'max_activation_rate')}."
    )
    influences = sorted(
        (concept.influence for concept in report.concepts if concept.influence is not None), reverse=True
    )
    if sum(influences) > 0:
        carried = [part >= 0.9 * sum(influences) for part in accumulate(influences)].index(True) + 1
        evidence += (
            f" {carried} of them carry 90 % of what all do together (activation rate times shift of the probabilities)."
        )
    dead = report.n_concepts - len(report.concepts)
    if dead:
        evidence += (
            f" {dead} of the {report.n_concepts} are active on hardly any test text, or on none, and are not shown."
        )
    if largest == 0:
        return Finding("frequency", "no", "No: none is active on any text", evidence)
    if _is_poor("max_activation_rate", largest):
        return Finding("frequency", "no", "Not each: one is active on more than half of the texts", evidence)
    return Finding("frequency", "yes", "Yes: each is active on a part of the texts only", evidence)


def _belong_together(report: Report) -> Finding:
    likeness, floor = report.entry["concept_sim"], report.summary["dataset_mean_cosine"]
    evidence = (
        "Likeness of two texts of the same concept (cosine of sentence embeddings), mean over all such pairs: "
        f"{likeness:.3f}"
        f"{_interval(report, 'concept_sim', False)}; of any two texts: {floor:.3f}."
    )
    if is_above_floor(report.entry.get("concept_sim_ci95"), floor):
        return Finding("likeness", "yes", "Yes: more than any two texts have", evidence)
    return Finding("likeness", "no", "Not clearly more than any two texts have", evidence)


def _better_than_chance(report: Report) -> Finding:
    controls = [row for row in report.comparison if row.name in CONTROLS and row.name != report.method]
    if not controls:
        compared = [row.name for row in report.comparison if row.name in titles()]
        methods = dict.fromkeys([METHOD, _in_a_command(report.method), *compared, *CONTROLS])
        command = _compare(f"--compare.methods {','.join(methods)} --compare.seeds {report.seed}")
        missing = f"No control was measured beside {'this SAE' if report.method == METHOD else report.title}."
        return Finding("chance", "unknown", "Not checked", missing, command)
    recovered = {control.title: control.estimate("recovery_accuracy").mean for control in controls}
    shares = ", ".join(f"{number(share, True)} ({title})" for title, share in recovered.items())
    evidence = (
        f"{report.title} recovers {number(report.entry.get('recovery_accuracy'), True)} of the decisions. Controls, "
        f"whose concepts can mean nothing: {shares}."
    )
    if None in recovered.values():
        return Finding("chance", "unknown", "Not fully checked: a control could not be measured", evidence)
    shown = _of_this(report)
    alike = [control.title for control in controls if not is_beaten(control, shown)]
    needed = too_few_resamples(report.comparison)
    if alike and needed is not None and report.method == METHOD:
        evidence += f" Too few resamplings for any difference: set evaluate.n_bootstrap to {needed} or more."
        return Finding("chance", "unknown", "Cannot be said", evidence)
    if alike:
        return Finding("chance", "no", f"Not clearly: see {' and '.join(alike)}", evidence)
    evidence += (
        " A control may still shift the probabilities more: that means little where the decisions are not the model's."
    )
    return Finding("chance", "yes", "Yes: the controls recover clearly fewer decisions", evidence)


def _of_this(report: Report) -> ComparedMethod | None:
    """The row of the method that the report is about."""
    return next((row for row in report.comparison if row.name == report.method), None)


def _in_a_command(method: str) -> str:
    """A guest or a class of the user's own is called otherwise there."""
    return method if method in titles() else "METHOD"


def _compare(options: str) -> str:
    return f"sae-lens-classif compare --run RUN {options}"


def _found_again(report: Report) -> Finding:
    trained = _of_this(report)
    if trained is None or len(trained.seeds) < 2:
        seeds = ",".join(str(report.seed + more) for more in range(3))
        methods = "" if report.method == METHOD else f"--compare.methods {METHOD},{_in_a_command(report.method)} "
        command = _compare(f"{methods}--compare.seeds {seeds}")
        return Finding("numbers", "unknown", "Not checked", "No other training was measured beside this one.", command)
    spread = [
        f"{heading} {number(min(known_values), True)} to {number(max(known_values), True)}"
        for measure, heading in _OVER_SEEDS.items()
        if (known_values := [value for value in trained.estimate(measure).by_seed if value is not None])
    ]
    recovered = trained.estimate("scaled_recovery").by_seed
    known = [share for share in recovered if share is not None]
    failed = len(recovered) - len(known)
    evidence = f"Over {len(trained.seeds)} trainings: {'; '.join(spread) or 'no numbers'}."
    if not known:
        return Finding("numbers", "unknown", "Cannot be said", evidence)
    if failed:
        evidence += f" {failed} of them gave none."
    if failed or _is_poor("scaled_recovery", min(known)):
        return Finding("numbers", "no", "No: not every training recovers nearly all of the decisions", evidence)
    return Finding("numbers", "partly", "Within this spread", evidence)


def _comes_back(report: Report) -> Finding:
    stability = report.stability
    if stability is None:
        of_method = "" if report.method == METHOD else f" --method {_in_a_command(report.method)}"
        command = f"sae-lens-classif stability RUN --seeds 5{of_method}"
        return Finding(
            "same concepts",
            "unknown",
            "Not checked",
            "No other training's concepts were held against these.",
            command,
        )
    weighted, chance, every, by_texts = what_matters(stability)
    seeds = ", ".join(map(str, stability.other_seeds))
    evidence = (
        f"Trained with other seeds ({seeds}), {number(weighted, True)} of what the concepts do comes back in a "
        f"training on average, by chance {number(chance, True)}; concepts that come back in every training do "
        f"{number(every, True)}. By texts alone {number(by_texts, True)} come back. {when_it_comes_back(stability)}"
    )
    return Finding("same concepts", *does_it_come_back(stability), evidence)


_OVER_SEEDS: Mapping[str, str] = {
    "recovery_accuracy": "decisions recovered",
    "mean_activation_rate": "activation rate",
    "conditional_tvd": "shift of the probabilities without a concept",
}
