"""What a run shows at its end: headline numbers, the most influential concepts, warnings, the folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from sae_lens_classif.audit.diff import Diff, about, alone_rows, headings, kept_rows
from sae_lens_classif.audit.stable_concepts import Stability, does_it_come_back, how_to_read, share_rows
from sae_lens_classif.evals.comparison import ComparedMethod
from sae_lens_classif.evals.measures import columns, headline_rows
from sae_lens_classif.explaining.explanation import ActiveConcept, Explanation
from sae_lens_classif.features import decision_tables, transfer_tables
from sae_lens_classif.features.decisions import DecisionStudy
from sae_lens_classif.features.study import Study
from sae_lens_classif.features.tables import HEADINGS, briefly, in_a_sentence, study_rows
from sae_lens_classif.features.transfer import TransferStudy
from sae_lens_classif.files import sizes
from sae_lens_classif.runs.across_tables import (
    about_aside,
    about_scores,
    best_rank,
    rank,
    score_of,
    scored,
    titles,
    wins,
)
from sae_lens_classif.runs.results import Across
from sae_lens_classif.runs.sweep import COMES_BACK, varied
from sae_lens_classif.runs.tables import Cell, best_methods, cell_of, context_notes, control_notes, marks
from sae_lens_classif.runs.transfer import Transfer, measure_rows
from sae_lens_classif.wording import bare_number, class_of_concept, number, points, twins_of_concept

_N_CONCEPTS = 5
_N_TEXTS = 2
_TEXT_WIDTH = 200
_N_WORDS = 6
_N_APPROACHES = 10


def show_summary(console: Console, summary: dict[str, Any], method: str, texts: Sequence[str]) -> None:
    """Print the headline numbers of a method, its most influential concepts and its warnings.

    Args:
        console: Where to print.
        summary: Content of ``summary.json``.
        method: Which method's numbers.
        texts: Test texts, to show some of each concept's.
    """
    entry = summary["methods"][method]
    console.print(_headlines(summary, entry))
    console.print("\nThe most influential concepts", style="italic")
    for concept in entry["concepts"][:_N_CONCEPTS]:
        console.print(_concept(concept, texts), highlight=False)
    console.print()
    for warning in entry["warnings"]:
        console.print(f"[yellow]Warning:[/] {escape(warning)}")


def show_comparison(console: Console, methods: Sequence[ComparedMethod]) -> None:
    """Print concept methods beside each other, how to read the table, and what must be known of each.

    Args:
        console: Where to print.
        methods: The rows.
    """
    console.print(_numbers("Concept methods beside each other, rates in percent", methods))
    console.print(escape(marks(methods)), "Intervals and more columns: comparison.md", style="dim", highlight=False)
    for note in (*control_notes(methods), *context_notes(methods)):
        console.print(f"[yellow]Warning:[/] {escape(note)}", highlight=False)
    for method in methods:
        for note in method.notes:
            console.print(f"[yellow]{escape(method.title)}:[/] {escape(note)}", highlight=False)


def show_across(console: Console, found: Across) -> None:
    """Print the numbers of each data set, then ranks and wins over them, and how to read these.

    Args:
        console: Where to print.
        found: The comparisons of several data sets.
    """
    for one in found.data_sets:
        methods = list(one.methods.values())
        console.print(_numbers(f"{one.name}, rates in percent", methods))
    console.print(escape(marks(methods, found.against)), style="dim", highlight=False)
    measures = [measure for measure in scored() if measure.is_essential]
    headings = ["Method", *(measure.column for measure in measures)]
    n_data_sets = f"over {len(found.data_sets)} data sets"
    ranks = _table(f"Mean ranks {n_data_sets}", headings, no_wrap=True)
    won = _table(f"Better and worse than {titles(found)[found.against]} {n_data_sets}", headings, no_wrap=True)
    for name, title in titles(found).items():
        scores = [(score_of(found, name, measure), best_rank(found, measure)) for measure in measures]
        if name in found.ranked:
            cells = (f"[bold]{rank(one)}[/]" if one.mean_rank == best else rank(one) for one, best in scores)
            ranks.add_row(escape(title), *cells)
        if name != found.against:
            won.add_row(escape(title), *(wins(one) for one, _ in scores))
    console.print(ranks, won)
    for line in (*about_scores(found), *about_aside(found)):
        console.print(escape(line), style="dim", highlight=False)
    console.print("Intervals and more measures: across.md", style="dim", highlight=False)


def _numbers(title: str, methods: Sequence[ComparedMethod]) -> Table:
    measures = [column for column in columns() if column.is_essential]
    headings = ["Method", *(measure.column for measure in measures)]
    table = _table(title, headings, no_wrap=True)
    best = best_methods(methods)
    for method in methods:
        shown = [cell_of(method, measure, best) for measure in measures]
        table.add_row(escape(method.title), *map(_compared, shown))
    return table


def _compared(cell: Cell) -> str:
    value = f"[bold]{cell.value}[/]" if cell.is_best else cell.value
    return value + ("*" if cell.is_real else " ")


def show_sweep(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """Print the measures of every cell of a sweep, means over seeds.

    Args:
        console: Where to print.
        rows: What ``sweep_step`` gives.
    """
    names = varied(rows)
    measures = [column for column in (*columns(), COMES_BACK) if column.is_essential and column.name in rows[0]]
    columns_ = (measure.column.replace(" ", "\n") for measure in measures)  # a narrow terminal has no room beside them
    headings = [*(name.rpartition(".")[2] for name in names), "seeds", *columns_]
    table = _table("Sweep, rates in percent", headings, n_left=len(names) + 1, no_wrap=True)
    for row in rows:
        values = [bare_number(row[measure.name]["mean"], measure.in_percent) for measure in measures]
        table.add_row(*(escape(str(row["cell"][name])) for name in names), str(len(row["seeds"])), *values)
    console.print(table)


def show_features(console: Console, study: Study) -> None:
    """Print what a study of features found: advice, the best ten approaches, the best of each kind of baseline.

    Args:
        console: Where to print.
        study: What ``features_step`` gives.
    """
    short = briefly(study)

    def said(words: str) -> str:
        return escape(short(words))

    headings = [heading.removesuffix(", %") for heading in HEADINGS]
    table = _table("Features as classifiers, in percent", headings)
    for row in study_rows(study, at_most=_N_APPROACHES):
        table.add_row(*map(said, row))
    console.print(table)
    console.print(said(in_a_sentence(study)), highlight=False)
    if study.n_duplicates:
        console.print(f"Warning: {study.n_duplicates:,} test texts are training texts, too.", style="yellow")


def show_transfer_features(console: Console, found: TransferStudy | DecisionStudy) -> None:
    """Print what holds on other languages or data sets, or tells the decisions of other models.

    Args:
        console: Where to print.
        found: What ``transfer_features_step`` gives.
    """
    if isinstance(found, DecisionStudy):
        table = _table("What tells the decisions of", ("in percent", *found.classifiers))
        rows, sentences = decision_tables.decision_rows(found), decision_tables.in_sentences(found)
    else:
        table = _table("Macro F1, in percent", transfer_tables.MEANS)
        rows, sentences = transfer_tables.means_rows(found), transfer_tables.in_sentences(found)
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
    for sentence in sentences:
        console.print(escape(sentence), highlight=False)


def show_transfer(console: Console, transfer: Transfer) -> None:
    """Print the same concepts' measures on two data sets beside each other.

    Args:
        console: Where to print.
        transfer: What was measured.
    """
    title = f"The concepts of {transfer.source} elsewhere"
    table = _table(title, ("Measure", transfer.source, transfer.target, "change"))
    for row in measure_rows(transfer):
        table.add_row(*row)
    console.print(table)


def show_stability(console: Console, stability: Stability) -> None:
    """Print which concepts come back in other trainings, and how much that is in all.

    Args:
        console: Where to print.
        stability: What was found.
    """
    n_others = len(stability.other_seeds)
    title = f"The concepts of {stability.method} in {n_others} other training{'s' if n_others > 1 else ''}"
    heads = ("Concept", "Class", "Name", "influence, %", "comes back in", "same texts in")
    table = _table(title, heads, n_left=3)
    for concept in stability.concepts:
        cells = (str(concept.index), class_of_concept(concept.model_dump()), concept.called)
        numbers = (bare_number(concept.influence, True), concept.times, concept.times_on_texts)
        table.add_row(*map(escape, cells), *numbers)
    console.print(table)
    headings = ("Comes back, %", "measured", "floor", "ceiling")
    shares = _table(f"All of them, on {stability.n_test_texts:,} test texts", headings)
    for row in share_rows(stability):
        shares.add_row(*row)
    console.print(shares)
    console.print(how_to_read(stability), style="dim", highlight=False)
    verdict, answer = does_it_come_back(stability)
    said = f"Does another training find the same concepts? {answer}."
    console.print(f"[yellow]Warning:[/] {said}" if verdict == "no" else said, highlight=False)


def show_diff(console: Console, diff: Diff) -> None:
    """Print which concepts of two runs are kept, gone and new.

    Args:
        console: Where to print.
        diff: What was found.
    """
    of_kept, of_alone = headings(diff)
    parts = (
        ("Kept", of_kept, kept_rows(diff)),
        (f"Gone: in {diff.run_a} alone", of_alone, alone_rows(diff.gone)),
        (f"New: in {diff.run_b} alone", of_alone, alone_rows(diff.new)),
    )
    for title, head, rows in parts:
        table = _table(title, head, n_left=3)
        for row in rows:
            table.add_row(*map(escape, row))
        if rows:
            console.print(table)
    console.print(escape(about(diff)), highlight=False)


def show_explanation(console: Console, explanation: Explanation, with_text: bool = False) -> None:
    """Print why one text got its class: first of all which, and how probable it is.

    Args:
        console: Where to print.
        explanation: What is shown.
        with_text: Whether the beginning of the text is shown, too, as where there are several.
    """
    console.print(f"[bold]{escape(explanation.headline)}[/]", highlight=False)
    if with_text:
        console.print(escape(_shorten(explanation.text)), highlight=False)
    headings = ("Class", "by the model", "through the concepts alone", "with no concept")
    table = _table("Probability of each class, %", headings)
    columns = (explanation.probabilities, explanation.through_concepts, explanation.with_none)
    for number_, (name, *shares) in enumerate(zip(explanation.class_names, *columns, strict=True)):
        style = "bold" if explanation.is_decided(number_) else None
        table.add_row(escape(name), *(bare_number(share, True) for share in shares), style=style)
    console.print(table)
    through = explanation.class_through_concepts
    if explanation.concepts and through != explanation.predicted:
        names = (escape(explanation.in_words(decision)) for decision in (through, explanation.predicted))
        console.print("Through the concepts alone the class is {}, not {}: they do not tell all.".format(*names))
    if not explanation.concepts:
        console.print("No concept is active on this text: the concepts say nothing about its class.")
    for concept in explanation.concepts:
        console.print(_active_concept(concept, explanation), highlight=False)


def _active_concept(concept: ActiveConcept, explanation: Explanation) -> Group:
    name = f"Concept {concept.index}" + (f", {escape(concept.class_name)}" if concept.class_name else "")
    moved = escape(explanation.class_names[concept.class_number])
    without = escape(explanation.in_words(explanation.class_without(concept)))
    what = "labels are" if explanation.multi_label else "class is"
    effect = f"{moved} {points(concept.effect)} with it; without it the {what} {without}"
    driven = ", ".join(escape(_shorten(word)) for word in explanation.driving_words(concept)[:_N_WORDS])
    lines = [f"[bold]{escape(concept.name)}[/]"] if concept.name else []
    lines += [escape(", ".join(concept.key_words))] if concept.key_words else []
    lines += [f"driven by: {driven}"] if driven else []
    return Group(f"\n[bold cyan]{name}[/]: {effect}", *(Padding(line, (0, 0, 0, 4)) for line in lines))


def show_publication(console: Console, folder: Path, address: str, repo_id: str, dry_run: bool) -> None:
    """Print what was published, or would be, and how it is loaded.

    Args:
        console: Where to print.
        folder: Holds what was published.
        address: Of the repository, or the folder of a dry run.
        repo_id: ``owner/name``.
        dry_run: Whether nothing was uploaded.
    """
    table = _table(repo_id, ("File", "kB"))
    for name, size in sizes(folder):
        table.add_row(escape(name), f"{size / 1000:,.0f}")
    console.print(table)
    if dry_run:
        console.print(f"Nothing was uploaded. Look at {escape(address)}/README.md", soft_wrap=True, highlight=False)
        return
    loading = (folder / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    console.print(f"Published: {escape(address)}\nTo load it:\n\n{escape(loading)}", soft_wrap=True, highlight=False)


def show_folder(console: Console, folder: Path) -> None:
    """Print where everything is."""
    console.print(f"Everything is in {escape(str(folder))}", soft_wrap=True)


def _table(title: str, headings: Sequence[str], n_left: int = 1, no_wrap: bool = False) -> Table:
    """A table whose first columns are words, the others numbers, which may be kept from breaking."""
    table = Table(title=escape(title), title_justify="left")
    for place, heading in enumerate(headings):
        if place < n_left:
            table.add_column(escape(heading), overflow="fold")
        else:
            table.add_column(escape(heading), justify="right", no_wrap=no_wrap)
    return table


def _headlines(summary: dict[str, Any], entry: dict[str, Any]) -> Table:
    title = f"{summary['data']}: {summary['n_test_texts']:,} test texts"
    table = _table(title, ("Measure", "Value", "95 % interval"))
    for row in headline_rows({**summary, **entry}):
        table.add_row(*row)
    return table


def _concept(concept: dict[str, Any], texts: Sequence[str]) -> Group:
    numbers = f"fires on {number(concept['activation_rate'], True)} of the texts"
    if concept["tvd"] is not None:
        numbers += f"; without it their class probabilities move by {number(concept['tvd'], True)}"
    numbers += f"; {alike}" if (alike := twins_of_concept(concept)) else ""
    words = f"[bold]{escape(', '.join(concept['key_words']))}[/]"
    name = f": {escape(concept['name'])}" if concept.get("name") else ""
    examples = [f"· {escape(_shorten(texts[row]))}" for row in concept["top_texts"][:_N_TEXTS]]
    return Group(
        f"\n[bold cyan]Concept {concept['index']}, {escape(class_of_concept(concept))}{name}[/]: {numbers}",
        *(Padding(line, (0, 0, 0, 4)) for line in (words, *examples)),
    )


def _shorten(text: str) -> str:
    # A text may hold anything, control sequences of the terminal included.
    clean = "".join(character if character.isprintable() else " " for character in text)
    return clean if len(clean) <= _TEXT_WIDTH else clean[: _TEXT_WIDTH - 1] + "…"
