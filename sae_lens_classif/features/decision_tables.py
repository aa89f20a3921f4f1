"""What tells the decisions of classifiers, in words and tables."""

from collections.abc import Iterator

from sae_lens_classif.features.decisions import COMMONEST, DecisionStudy
from sae_lens_classif.features.transfer_tables import verdict, with_interval
from sae_lens_classif.wording import markdown_table, markdown_text, number


def in_sentences(found: DecisionStudy) -> list[str]:
    """How well the first view tells what each classifier decides, beside the others."""
    first, *others = found.views
    sentences = []
    for of in found.classifiers:
        own, grouped = found.cells[first][of], dict[str, list[str]]()
        for name in others:
            said = verdict(found.cells[name][of].difference)
            grouped.setdefault(said, []).append(f"{name} {_value(found, name, of)}")
        beside = [f"{', '.join(named)}: {said}" for said, named in grouped.items()]
        sentences.append(
            f"What {of} decides is told by {first} with a macro F1 of {with_interval(own.macro_f1)}; "
            f"{COMMONEST} reaches {_value(found, COMMONEST, of)}. Than {'; than '.join(beside)}."
        )
    return sentences


def _value(found: DecisionStudy, name: str, of: str) -> str:
    return number(found.cells[name][of].macro_f1.value, True)


def decision_rows(found: DecisionStudy) -> Iterator[tuple[str, ...]]:
    """A row a view: macro F1 for each classifier; an asterisk where it is another than the first view's."""
    for name in (*found.views, COMMONEST):
        cells = [found.cells[name][of] for of in found.classifiers]
        marks = ["*" * bool(cell.difference and cell.difference.is_real) for cell in cells]
        yield name, *(with_interval(cell.macro_f1, "") + mark for cell, mark in zip(cells, marks, strict=True))


def to_markdown(found: DecisionStudy) -> str:
    """The sentences and the whole table."""
    lines = [line for sentence in in_sentences(found) for line in (markdown_text(sentence), "")]
    lines += ["Macro F1 in percent, with 95 % intervals over test texts: what tells the decisions of", ""]
    lines += markdown_table(("", *found.classifiers), decision_rows(found))
    lines += [
        "",
        f"{found.n_texts[0]:,} training and {found.n_texts[1]:,} test texts; the decisions are the labels of both. An "
        f"asterisk: another macro F1 than that of {markdown_text(next(iter(found.views)))} (paired bootstrap, Holm's "
        "correction).",
        "",
    ]
    lines += [f"- {markdown_text(name)}: {markdown_text(about)}" for name, about in found.views.items()]
    return "\n".join(lines) + "\n"
