"""What a study of features found, in words and tables."""

from collections import Counter
from collections.abc import Callable, Iterator

from sae_lens_classif.features.advice import advice
from sae_lens_classif.features.scores import Score
from sae_lens_classif.features.sources import HIDDEN, UNTRAINED
from sae_lens_classif.features.study import CLASSIFIER, Study, StudyRow
from sae_lens_classif.wording import bare_number, markdown_table

HEADINGS = (
    "Features",
    "macro F1, %",
    "95 % interval",
    "accuracy, %",
    "from the best baseline",
    "in cross-validation, %",
)


def in_a_sentence(study: Study) -> str:
    """Which features to take, whether they beat the best baseline, and whether cheaper ones or fewer do."""
    best, baseline = study.rows[study.best], study.rows[study.best_baseline]
    difference = best.score.difference
    if difference is None or not difference.is_real:
        verdict = "no more apart than chance brings them"
    else:
        verdict = "more than chance brings" if difference.mean > 0 else "less, by more than chance brings"
    first = (
        f"Best in cross-validation on the training texts: {study.best}. On the {study.n_texts[1]:,} test texts it "
        f"reaches a macro F1 of {bare_number(best.score.macro_f1, True)} %; the best baseline, {study.best_baseline}, "
        f"{bare_number(baseline.score.macro_f1, True)} %: {verdict}."
    )
    return " ".join([first, *advice(study)])


def study_rows(study: Study, at_most: int | None = None) -> Iterator[tuple[str, ...]]:
    """A row an approach in words, those best in cross-validation first, baselines after them, at last the ceiling.

    Args:
        study: What was found.
        at_most: So many approaches at most, and of hidden states and of untrained SAEs the best. Default: all.
    """
    ordered = sorted(study.rows.items(), key=lambda item: (item[1].is_baseline, -(item[1].cv_macro_f1 or 0)))
    n_shown = Counter[str]()
    for name, row in ordered:
        kind = (row.source or name).partition(":")[0] if row.is_baseline else ""
        n_shown[kind] += 1
        if at_most is None or n_shown[kind] <= (1 if row.is_baseline else at_most):
            yield _cells(name, row)
    if study.ceiling is not None:
        yield f"{CLASSIFIER} (ceiling)", *_reached(study.ceiling), "–"


def shortened(study: Study) -> dict[str, str]:
    """Folders of SAEs and models by as few last parts as tell them apart, for a screen that is narrow."""
    sources = {row.source.removeprefix(UNTRAINED) for row in study.rows.values() if row.source is not None}
    named = sources | {row.model for row in study.rows.values() if row.model is not None}
    folders = {name: name.split("/") for name in named if "/" in name and not name.startswith(HIDDEN)}
    short = {}
    for name, parts in folders.items():
        n_parts = next(n for n in range(1, len(parts) + 1) if sum(o[-n:] == parts[-n:] for o in folders.values()) == 1)
        short[name] = "/".join(parts[-n_parts:])
    return short


def briefly(study: Study) -> Callable[[str], str]:
    """What writes words of a study with folders of SAEs by their last parts; see ``shortened``."""
    longest_first = sorted(shortened(study).items(), key=lambda item: -len(item[0]))

    def said(words: str) -> str:
        for name, few in longest_first:
            words = words.replace(name, few)
        return words

    return said


def _cells(name: str, row: StudyRow) -> tuple[str, ...]:
    within = "–" if row.cv_macro_f1 is None else bare_number(row.cv_macro_f1, True)
    if row.cv_range is not None and row.cv_range[0] < row.cv_range[1]:
        within += f" ({bare_number(row.cv_range[0], True)} … {bare_number(row.cv_range[1], True)})"
    return f"{name} (baseline)" if row.is_baseline else name, *_reached(row.score), within


def _reached(score: Score) -> tuple[str, ...]:
    low, high = (bare_number(end, True) for end in score.macro_f1_ci95)
    difference = score.difference
    apart = "–" if difference is None else f"{100 * difference.mean:+.1f}{'*' * difference.is_real}"
    return bare_number(score.macro_f1, True), f"{low} … {high}", bare_number(score.accuracy, True), apart


def to_markdown(study: Study) -> str:
    """The sentence and the whole table."""
    lines = [in_a_sentence(study), "", *markdown_table(HEADINGS, study_rows(study))]
    lines += [
        "",
        f"{study.n_texts[0]:,} training texts. Settings are picked on them alone, by cross-validation; in brackets the "
        "worst and best settings there. An asterisk: another macro F1 than the best baseline's (paired bootstrap, "
        "Holm's correction).",
    ]
    if study.ceiling is not None:
        lines += [
            "",
            f"{CLASSIFIER.capitalize()} is what the run's own classifier says; it competes with nothing here.",
        ]
    if study.n_duplicates:
        lines += [
            "",
            f"{study.n_duplicates:,} of the test texts are training texts, too: what is reached there is no proof.",
        ]
    return "\n".join(lines) + "\n"
