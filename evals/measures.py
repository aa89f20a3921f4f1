"""What each measure is: how it is called and written, which direction is better, which value means what.

A measure is declared in the module of its evaluation; whatever shows, compares or judges measures asks here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from sae_lens_classif.config.run import evaluation_names
from sae_lens_classif.plugins import declared
from sae_lens_classif.wording import number

# Numbers of JSON files, rounding allowed for.
Share = Annotated[float, Field(ge=0, le=1.000001)]
Change = Annotated[float, Field(ge=-1.000001, le=1.000001)]
Cosine = Annotated[float, Field(ge=-1.000001, le=1.000001)]
Count = Annotated[int, Field(ge=0)]
Interval = Annotated[list[float | None], Field(min_length=2, max_length=2, description="Low and high end, 95 %.")]
_TYPES: Mapping[str, Any] = {"share": Share, "change": Change, "ratio": float, "cosine": Cosine, "number": float}

FLOOR = "dataset_mean_cosine"  # what a ConceptSim is held against

# The same number, measured otherwise, has a longer name.
OTHER_CONTEXT, OTHER_NORM = "_other_context", "_other_norm"  # that evaluate.context or evaluate.norm does not name
RANDOM = "_random_directions"  # the control
_OTHERWISE = {
    OTHER_CONTEXT: "in the other context",
    OTHER_NORM: "with the other norm",
    RANDOM: "with random directions at the same rates",
}


@dataclass(frozen=True)
class Limit:
    """A value beyond which a measure is a warning.

    Attributes:
        side: Whether values ``below`` it, ``above`` it or ``at`` it are meant.
        value: The limit.
        short: What is wrong, in a few words; ``{limit}`` stands for the limit.
        finding: The same in a sentence; ``{value}`` stands for the number, as ``{value:.1%}``.
        remedy: What a user of ClassifSAE can do.
        otherwise: What a user of another method can do. Default: the same.
    """

    side: Literal["below", "above", "at"]
    value: float
    short: str
    finding: str
    remedy: str
    otherwise: str = ""

    def is_passed(self, value: float) -> bool:
        """Whether a value is beyond it."""
        return {"below": value < self.value, "above": value > self.value, "at": value == self.value}[self.side]

    def words(self, text: str, value: float | None = None) -> str:
        """One of its texts with the numbers put in."""
        return text.format(limit=f"{100 * self.value:g} %", value=value)


@dataclass(frozen=True)
class Measure:
    """One number that an evaluation gives, or a curve of several.

    Attributes:
        name: Its key in the JSON files.
        title: Its heading in a list of measures.
        about: What it is, in a sentence.
        unit: ``share`` (0..1), ``change`` (of a share, -1..1) and ``ratio`` (of any size) are written in percent,
            ``cosine`` (-1..1) and ``number`` as they are.
        better: Whether more (1) or less (-1) is better where methods are compared by it; 0: they are not.
        column: Its heading in the table of a comparison; empty: it is not in it.
        headline: Its place among the headline numbers of a run, those of the package being 1 to 26; 0: it is none.
        has_interval: Whether ``<name>_ci95`` stands beside it.
        presence: ``always``: a number. ``nullable``: null where nothing could be measured. ``optional``: may be
            missing, such as what is known of SAEs alone.
        n_values: How many values it has, if it is a curve.
        uses_labels: Whether it depends on gold labels.
        is_essential: Whether a terminal, which has little room, shows it in a comparison.
        limits: What means that results must not be trusted.
        beside_of: Name of the measure that it is the same as, measured otherwise; empty: of none.
    """

    name: str
    title: str = ""
    about: str = ""
    unit: Literal["share", "change", "ratio", "cosine", "number"] = "number"
    better: Literal[-1, 0, 1] = 0
    column: str = ""
    headline: int = 0
    has_interval: bool = False
    presence: Literal["always", "nullable", "optional"] = "nullable"
    n_values: int = 1
    uses_labels: bool = False
    is_essential: bool = False
    limits: tuple[Limit, ...] = ()
    beside_of: str = ""

    @property
    def in_percent(self) -> bool:
        """Whether it reads better in percent."""
        return self.unit in ("share", "change", "ratio")

    @property
    def is_compared(self) -> bool:
        """Whether methods are held against each other by it, or have it in their table."""
        return bool(self.better or self.column)

    @property
    def heading(self) -> str:
        """The heading of its column, with the unit."""
        return f"{self.column}, %" if self.in_percent else self.column

    def beside(self, suffix: str, **changed: Any) -> "Measure":
        """The same number measured otherwise: neither judged by limits nor, but for what is ``changed``, compared.

        Args:
            suffix: Says how, and makes the name longer.
            **changed: Other attributes that it has.
        """
        how = _OTHERWISE[suffix]
        common: dict[str, Any] = {"better": 0, "column": "", "headline": 0, "is_essential": False, "limits": ()}
        named = {"name": f"{self.name}{suffix}", "title": f"  {how}", "about": f"{self.column or self.name} {how}."}
        return replace(self, beside_of=self.name, **{**common, **named, **changed})

    def passed(self, value: float) -> Limit | None:
        """The limit that a value is beyond, if it is."""
        return next((limit for limit in self.limits if limit.is_passed(value)), None)

    def fields(self, may_be_missing: bool = False) -> Iterator[tuple[str, Any]]:
        """Its keys in a JSON file, with their types and what a schema says of them, as pydantic wants them.

        Args:
            may_be_missing: Whether the file need not have it, whatever its presence. Default: as its presence says.
        """
        optional = may_be_missing or self.presence == "optional"
        default = None if optional else ...
        kind: Any = _TYPES[self.unit]
        interval: Any = Interval
        if optional or self.presence == "nullable":
            kind, interval = kind | None, interval | None
        if self.n_values > 1:
            length = Field(min_length=self.n_values, max_length=self.n_values)
            kind, interval = Annotated[list[kind], length], Annotated[list[interval], length]
        yield self.name, (kind, Field(default, description=self.about or None))
        if self.has_interval:
            yield f"{self.name}_ci95", (interval, Field(default))


def all_measures() -> tuple[Measure, ...]:
    """The measures of all evaluations."""
    specs = declared("evals", "EVALUATION")
    return tuple(measure for name in evaluation_names() for measure in specs[name].measures)


def find_measure(name: str) -> Measure:
    """A measure by its name; one that no evaluation declares has that for its title."""
    return next((measure for measure in all_measures() if measure.name == name), Measure(name, title=name))


def headlines() -> tuple[Measure, ...]:
    """The headline numbers of a run, in the order in which they are read."""
    found = (measure for measure in all_measures() if measure.headline)
    return tuple(sorted(found, key=lambda measure: measure.headline))


def headline_rows(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The headline numbers of a run in words, then the floor of ConceptSim: title, value, 95 % interval.

    Args:
        metrics: Numbers by name, and their intervals; those that are missing are left out, None is a dash.
    """
    for measure in (*headlines(), find_measure(FLOOR)):
        if measure.name in metrics:
            limits = metrics.get(f"{measure.name}_ci95") or ()
            interval = " … ".join(number(limit, measure.in_percent) for limit in limits)
            yield measure.title, number(metrics[measure.name], measure.in_percent), interval


def compared_measures(has_interval: bool | None = None) -> tuple[Measure, ...]:
    """Measures by which methods are compared, and others in the table of a comparison.

    Args:
        has_interval: Only those with an interval, or only those without. Default: these before those.
    """
    found = (entry for entry in all_measures() if entry.is_compared and has_interval in (None, entry.has_interval))
    return tuple(sorted(found, key=lambda measure: not measure.has_interval))


def columns() -> tuple[Measure, ...]:
    """The measures in the table of a comparison."""
    return tuple(measure for measure in all_measures() if measure.column)


def label_free_columns() -> tuple[Measure, ...]:
    """Those of them that have an interval, do not depend on gold labels and do not stand beside another."""
    found = (measure for measure in columns() if measure.has_interval and not measure.uses_labels)
    return tuple(measure for measure in found if not measure.beside_of)


def warnings_about(metrics: Mapping[str, Any], *, of_classif_sae: bool = True) -> list[str]:
    """Word a warning for every measure beyond its limit or below its floor, and what the user can do.

    Args:
        metrics: Headline numbers by name; those that are missing or None are not judged.
        of_classif_sae: Whether the concepts are a ClassifSAE's; other methods have other settings.
    """
    beyond = (
        limit.words(f"{limit.finding} {limit.remedy if of_classif_sae else limit.otherwise or limit.remedy}", value)
        for limit, value in _passed_limits(metrics)
    )
    return [*beyond, *_other_warnings(metrics)]


def context_warning(metrics: Mapping[str, Any], context: str) -> str | None:
    """Word a warning where only one of the two contexts lets the concepts pass for complete.

    Args:
        metrics: Headline numbers by name.
        context: The one of ``evaluate.context``, ``alone`` or ``in_context``.
    """
    measure = find_measure("scaled_recovery")
    here, there = (metrics.get(f"{measure.name}{suffix}") for suffix in ("", OTHER_CONTEXT))
    if here is None or there is None or (measure.passed(here) is None) == (measure.passed(there) is None):
        return None
    names = ("alone", "in_context") if context == "alone" else ("in_context", "alone")
    said = " and ".join(f"{number(share, True)} {name}" for share, name in zip((here, there), names, strict=True))
    return (
        f"The two contexts disagree: the scaled RAcc is {said}. Whether the concepts suffice depends on whether the "
        "earlier tokens are kept; report both numbers (evaluate.context)."
    )


def is_above_floor(interval: Sequence[float | None] | None, floor: float) -> bool:
    """Whether a concept's texts are clearly more alike than any two texts.

    Args:
        interval: 95 % interval of the ConceptSim; None where it is not known.
        floor: The same over all texts.
    """
    low = interval[0] if interval else None
    return low is not None and low > floor


CANNOT_BE_SCALED = "The model decides as before on no more texts with the hidden state untouched than with no concept."


def _cannot_be_scaled(metrics: Mapping[str, Any]) -> bool:
    return "scaled_recovery" in metrics and metrics["scaled_recovery"] is None


def _other_warnings(metrics: Mapping[str, Any]) -> Iterator[str]:
    """What takes more than one number to see."""
    if _cannot_be_scaled(metrics):
        yield f"{CANNOT_BE_SCALED} Whether the concepts suffice cannot be said; try another layer (classifier.hook)."
    likeness, floor = metrics.get("concept_sim"), metrics.get(FLOOR)
    if likeness is None or floor is None:
        return
    if not is_above_floor(metrics.get("concept_sim_ci95"), floor):
        yield (
            f"A concept's texts are not clearly more alike than any two texts are (ConceptSim {likeness:.3f}, floor "
            f"{floor:.3f}): read some before you believe a concept's name. More test texts make the interval narrower."
        )


def short_warnings(metrics: Mapping[str, Any]) -> list[str]:
    """The same in a few words, for a table that shows the numbers.

    Args:
        metrics: Headline numbers by name; those that are missing or None are not judged.
    """
    short = [limit.words(limit.short) for limit, _ in _passed_limits(metrics)]
    return [*short, *(["the untouched state decides no more than none does"] if _cannot_be_scaled(metrics) else [])]


def _passed_limits(metrics: Mapping[str, Any]) -> Iterator[tuple[Limit, float]]:
    # What may be missing, such as what is known of SAEs alone, comes last.
    for measure in sorted(all_measures(), key=lambda measure: measure.presence == "optional"):
        value = metrics.get(measure.name)
        if value is not None and (limit := measure.passed(value)):
            yield limit, value
