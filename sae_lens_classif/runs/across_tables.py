"""Concept methods over several data sets as tables: Markdown, LaTeX."""

from collections.abc import Callable, Sequence

from sae_lens_classif.evals.measures import Measure, columns
from sae_lens_classif.evals.significance import ALPHA
from sae_lens_classif.runs.results import Across, Score
from sae_lens_classif.runs.tables import (
    intervals,
    latex,
    latex_table,
    markdown_table,
    marks,
    numbers_in_latex,
    numbers_in_markdown,
)

_NONE = Score(mean_rank=None, n_ranked=0, better=0, worse=0, n_compared=0)


def to_markdown(found: Across) -> str:
    """Ranks and wins over data sets, then the numbers of each data set, then how to read them."""
    lines = [f"# Concept methods over {len(found.data_sets)} data sets", "", *markdown_table(_rows(found, str))]
    lines += ["", *_escaped(about_scores(found)), ""]
    if found.aside:
        lines += ["Not ranked:", "", *(f"- {line}" for line in about_aside(found)), ""]
    for data_set in found.data_sets:
        methods = list(data_set.methods.values())
        lines += [f"## {data_set.name}", "", *numbers_in_markdown(methods), ""]
        lines += [*_escaped([f"{intervals(methods, data_set.n_test_texts)} {marks(methods, found.against)}"]), ""]
    return "\n".join(lines)


def to_latex(found: Across) -> str:
    """The same as tables for a paper (needs the package booktabs), how to read them as comments."""
    lines = [*latex_table(_rows(found, latex)), *(f"% {line}" for line in (*about_scores(found), *about_aside(found)))]
    for data_set in found.data_sets:
        methods = list(data_set.methods.values())
        lines += ["", f"% {' '.join(data_set.name.split())}", *numbers_in_latex(methods)]
        lines += [f"% {intervals(methods, data_set.n_test_texts)} {marks(methods, found.against)}"]
    return "\n".join([*lines, ""])


def scored() -> tuple[Measure, ...]:
    """The measures of the tables by which methods are ranked."""
    return tuple(measure for measure in columns() if measure.better)


def titles(found: Across) -> dict[str, str]:
    """How tables call each method: those that are ranked first, then those aside."""
    rows = {name: row for one in reversed(found.data_sets) for name, row in one.methods.items()}
    return {name: rows[name].title for name in (*found.ranked, *found.aside)}


def rank(score: Score) -> str:
    """A mean rank in words."""
    return "–" if score.mean_rank is None else f"{score.mean_rank:.2f}"


def wins(score: Score) -> str:
    """On how many data sets a method is better and worse than the reference, of how many."""
    return f"+{score.better} −{score.worse}/{score.n_compared}" if score.n_compared else "–"


def about_scores(found: Across) -> list[str]:
    """How ranks and wins are to be read."""
    reference = titles(found)[found.against]
    beaten = [one.name for one in found.data_sets if found.against not in one.competing]
    lines = [
        "The first number is the mean rank (1 is best) among the methods that compete on every data set, over the data "
        "sets on which all of them have a number; best in bold.",
        f"+b −w/n: better than {reference} on b, worse on w of the n data sets on which both compete: paired "
        f"bootstrap, p ≤ {ALPHA:g} after Holm's correction over the methods of that data set, each measure and data "
        "set by itself.",
    ]
    if beaten:
        lines.append(
            f"{reference} does not compete on {', '.join(beaten)}: nothing is counted against it there; another "
            "reference is chosen by --against."
        )
    partly = [m for m in scored() if 0 < _n_ranked(found, m) < len(found.data_sets)]
    if partly:
        said = ", ".join(f"{measure.column} over {_n_ranked(found, measure)}" for measure in partly)
        lines.append(f"Ranks are over fewer data sets where a number is missing: {said}.")
    return lines


def about_aside(found: Across) -> list[str]:
    """Each method that is not ranked, and why."""
    return [f"{title}: {found.aside[name]}." for name, title in titles(found).items() if name in found.aside]


def score_of(found: Across, name: str, measure: Measure) -> Score:
    """How a method stands by a measure."""
    return found.scores[name].get(measure.name, _NONE)


def best_rank(found: Across, measure: Measure) -> float | None:
    """The best mean rank of any method."""
    ranks = (score_of(found, name, measure).mean_rank for name in found.ranked)
    return min((one for one in ranks if one is not None), default=None)


def _n_ranked(found: Across, measure: Measure) -> int:
    return max((score_of(found, name, measure).n_ranked for name in found.ranked), default=0)


def _rows(found: Across, escape: Callable[[str], str]) -> list[list[str]]:
    """A row a measure, a column a method."""
    bold = r"\textbf{{{}}}" if escape is latex else "**{}**"
    names = titles(found)
    rows = [["Measure", *map(escape, names.values())]]
    for measure in scored():
        best, cells = best_rank(found, measure), []
        for name in names:
            score = score_of(found, name, measure)
            first = bold.format(rank(score)) if best is not None and score.mean_rank == best else rank(score)
            cells.append(f"{first} ({escape(wins(score))})" if score.n_compared else first)
        less = "" if measure.better > 0 else " (less is better)"
        rows.append([escape(measure.column + less), *cells])
    return rows


def _escaped(lines: Sequence[str]) -> list[str]:
    return [line.replace("*", r"\*") for line in lines]
