"""Comparisons as files: JSON, Markdown, LaTeX; best values in bold."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sae_lens_classif.evals.comparison import REFERENCE, ComparedMethod
from sae_lens_classif.evals.measures import OTHER_CONTEXT, Measure, columns, find_measure
from sae_lens_classif.evals.significance import ALPHA, resamplings_needed
from sae_lens_classif.files import write_text
from sae_lens_classif.runs.results import write_methods
from sae_lens_classif.wording import bare_number, markdown_row

CONTROLS = ("random_directions", "permuted_labels")
_LATEX = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\~{}", "^": r"\^{}", "…": r"\dots{}", "−": "$-$"}
)


def write_comparison(folder: Path, methods: Sequence[ComparedMethod], n_texts: int) -> None:
    """Write ``comparison.json``, ``.md`` and ``.tex``.

    Args:
        folder: Where to.
        methods: The rows.
        n_texts: Number of test texts.
    """
    write_methods(folder / "comparison.json", methods, n_texts)
    write_text(folder / "comparison.md", to_markdown(methods, n_texts))
    write_text(folder / "comparison.tex", to_latex(methods, n_texts))


@dataclass(frozen=True)
class Cell:
    """One number of the table, in words.

    Attributes:
        value: The mean.
        low_high: Its interval; empty if there is none.
        is_best: Whether no other method's mean is better.
        is_real: Whether it differs from the reference's.
    """

    value: str
    low_high: str
    is_best: bool
    is_real: bool


def cell_of(method: ComparedMethod, measure: Measure, best: dict[str, str]) -> Cell:
    """One number of the table.

    Args:
        method: The row.
        measure: Which number.
        best: For each measure the method that is best.
    """
    estimate = method.estimate(measure.name)
    low_high = " … ".join(bare_number(limit, measure.in_percent) for limit in estimate.ci95 or ())
    is_real = measure.name in method.differences and method.differences[measure.name].is_real
    is_best = best.get(measure.name) == method.name
    return Cell(bare_number(estimate.mean, measure.in_percent), low_high, is_best, is_real)


def competing(methods: Sequence[ComparedMethod]) -> list[ComparedMethod]:
    """The methods that can be best.

    Controls cannot, nor methods that recover too few of the decisions while others do more: concepts that are never
    active have the lowest activation rate.
    """
    rivals = [method for method in methods if method.name not in CONTROLS]
    recovery = find_measure("scaled_recovery")
    shares = {method.name: method.estimate(recovery.name).mean for method in rivals}
    return [method for method in rivals if not recovery.passed(shares[method.name] or 0)] or rivals


def best_methods(methods: Sequence[ComparedMethod]) -> dict[str, str]:
    """For each measure the method whose mean is best, of those that compete."""
    best = {}
    for measure in (measure for measure in columns() if measure.better):
        means = {method.name: method.estimate(measure.name).mean for method in competing(methods)}
        known = {name: measure.better * mean for name, mean in means.items() if mean is not None}
        if len(known) > 1:
            best[measure.name] = max(known, key=known.__getitem__)
    return best


def context_notes(methods: Sequence[ComparedMethod]) -> list[str]:
    """Say for which measures the two contexts disagree about the best method.

    Args:
        methods: The rows.
    """
    best, titles = best_methods(methods), {method.name: method.title for method in methods}
    notes = []
    for measure in (measure for measure in columns() if f"{measure.name}{OTHER_CONTEXT}" in best):
        here, there = best.get(measure.name), best[f"{measure.name}{OTHER_CONTEXT}"]
        if here is not None and here != there:
            notes.append(
                f"The two contexts (alone, or after the earlier tokens) disagree about the best {measure.column}: "
                f"{titles[here]} by evaluate.context, {titles[there]} in the other one."
            )
    return notes


def is_beaten(control: ComparedMethod, shown: ComparedMethod | None) -> bool:
    """Whether a control recovers clearly fewer decisions: by the paired difference that is known from ClassifSAE alone,
    by intervals that do not overlap from another method.

    Args:
        control: Its row.
        shown: The row of the method that is held against it; None where it has none.
    """
    difference = control.differences.get("recovery_accuracy")
    if shown is None or shown.name == REFERENCE:
        return difference is not None and difference.is_real and difference.mean < 0
    ours, theirs = (row.estimates["recovery_accuracy"].ci95 for row in (shown, control))
    return ours is not None and theirs is not None and theirs[1] < ours[0]


def control_notes(methods: Sequence[ComparedMethod]) -> list[str]:
    """Say which controls the reference does not clearly beat.

    Args:
        methods: The rows.
    """
    reference = next((method for method in methods if method.name == REFERENCE), None)
    measured = [method for method in methods if method.name in CONTROLS and _recovers(method)]
    alike = [control.title for control in measured if not is_beaten(control, reference)]
    if reference is None or not _recovers(reference) or not alike:
        return []
    return [
        f"{reference.title} recovers not clearly more decisions than {' and '.join(alike)}, whose concepts can mean "
        "nothing: what it finds may be chance."
    ]


def _recovers(method: ComparedMethod) -> bool:
    return method.estimate("recovery_accuracy").mean is not None


def fit_time(method: ComparedMethod) -> str:
    """Seconds of a fit."""
    return "–" if method.fit_seconds is None else f"{method.fit_seconds:.0f}"


def to_markdown(methods: Sequence[ComparedMethod], n_texts: int) -> str:
    """The table as GitHub renders it, then how to read it and the notes."""
    about = f"{intervals(methods, n_texts)} {marks(methods)}".replace("*", r"\*")
    notes = [f"- {note}" for note in _notes(methods)]
    lines = [*numbers_in_markdown(methods), "", about]
    return "\n".join([*lines, *(["", "Notes:", "", *notes] if notes else []), ""])


def to_latex(methods: Sequence[ComparedMethod], n_texts: int) -> str:
    """The table for a paper (needs the package booktabs), notes as comments below it."""
    below = [f"% {line}" for line in (f"{intervals(methods, n_texts)} {marks(methods)}", *_notes(methods))]
    return "\n".join([*numbers_in_latex(methods), *below, ""])


def numbers_in_markdown(methods: Sequence[ComparedMethod]) -> list[str]:
    """The lines of the table alone."""
    return markdown_table(_rows(methods, str, bold="**{}**", star=r"\*", brackets=" ({})"))


def numbers_in_latex(methods: Sequence[ComparedMethod]) -> list[str]:
    """The lines of the table alone."""
    return latex_table(_rows(methods, latex, bold=r"\textbf{{{}}}", star=r"$^{*}$", brackets=r" {{\scriptsize({})}}"))


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose first row are headings and whose first column are words, all others numbers."""
    head, *others = rows
    return [markdown_row(head), "|---" + "|---:" * (len(head) - 1) + "|", *map(markdown_row, others)]


def latex_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The same for LaTeX with the package booktabs; what the cells hold is escaped already."""
    begin = rf"\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}"
    head, *lines = [" & ".join(row) + r" \\" for row in rows]
    return [begin, r"\toprule", head, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}"]


def _notes(methods: Sequence[ComparedMethod]) -> list[str]:
    """Each note in one line, whatever an error's message holds."""
    of_methods = [f"{method.title}: {note}" for method in methods for note in method.notes]
    return [" ".join(note.split()) for note in (*control_notes(methods), *context_notes(methods), *of_methods)]


def latex(text: str) -> str:
    """Any text with what LaTeX takes for commands escaped."""
    return text.translate(_LATEX)


def _rows(
    methods: Sequence[ComparedMethod], escape: Callable[[str], str], *, bold: str, star: str, brackets: str
) -> list[list[str]]:
    """The headings, then a row a method; ``{}`` is where ``bold`` and ``brackets`` hold what they are put around."""
    best = best_methods(methods)

    def write(cell: Cell) -> str:
        value = bold.format(cell.value) if cell.is_best else cell.value
        low_high = brackets.format(escape(cell.low_high)) if cell.low_high else ""
        return value + (star if cell.is_real else "") + low_high

    rows = [[escape(heading) for heading in ("Method", *(measure.heading for measure in columns()), "fit, s")]]
    for method in methods:
        cells = [write(cell_of(method, measure, best)) for measure in columns()]
        rows.append([escape(method.title), *cells, fit_time(method)])
    return rows


def intervals(methods: Sequence[ComparedMethod], n_texts: int, where: str = "In brackets") -> str:
    """What the intervals are over, in one sentence."""
    seeds = len(methods[0].seeds)
    over = f"{seeds} seeds and the {n_texts:,} test texts" if seeds > 1 else f"the {n_texts:,} test texts"
    return f"{where} 95 % bootstrap intervals over {over}."


def marks(methods: Sequence[ComparedMethod], against: str = REFERENCE) -> str:
    """What bold type and asterisks mean.

    Args:
        methods: The rows.
        against: Name of the one that the others are held against.
    """
    (recovered,) = find_measure("scaled_recovery").limits
    aside = f"Best in bold; controls, and methods {recovered.words('below {limit} scaled RAcc')}, aside."
    about = (
        "Scaled RAcc: how far RAcc is on the way from its floor (no concept at all) to its ceiling (untouched state)."
    )
    return " ".join(filter(None, (aside, _about_differences(methods, against), about)))


def _about_differences(methods: Sequence[ComparedMethod], against: str) -> str:
    asked = Counter(name for method in methods for name in method.differences)
    if not asked:
        return ""
    ((_, most),) = asked.most_common(1)
    reference = next(method.title for method in methods if method.name == against)
    star = (
        f"* differs from {reference}: paired bootstrap, p ≤ {ALPHA:g} after Holm's correction over {most} "
        f"method{'s' if most > 1 else ''}, each measure by itself."
    )
    needed = too_few_resamples(methods)
    if needed is None:
        return star
    drawn = min(one.n_resamples for method in methods for one in method.differences.values())
    return f"{star} {drawn} resamplings are too few for any difference: set evaluate.n_bootstrap to {needed} or more."


def too_few_resamples(methods: Sequence[ComparedMethod]) -> int | None:
    """How many resamplings it takes for a method to differ from the reference, where there were fewer; else None.

    Args:
        methods: The rows.
    """
    asked = Counter(name for method in methods for name in method.differences)
    drawn = [one.n_resamples for method in methods for one in method.differences.values()]
    needed = resamplings_needed(max(asked.values(), default=0))
    return needed if drawn and min(drawn) < needed else None
