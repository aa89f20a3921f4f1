"""What holds on other languages and data sets, in words and tables."""

from collections.abc import Iterator, Sequence
from statistics import fmean, stdev

from sae_lens_classif.features.paired import Interval
from sae_lens_classif.features.scores import Difference
from sae_lens_classif.features.transfer import ALL, ALL_BUT, FEATURES, Shots, TransferStudy
from sae_lens_classif.wording import bare_number, markdown_table, markdown_text, number

TITLES = {FEATURES: "SAE features", "hidden": "hidden state", "words": "words (TF-IDF)"}
NOUNS = {"languages": "language", "data": "data set"}
MEANS = ("", "on its own", "on another", "kept, %", "all others together", "from the features")
FLOOR = "the commonest class"


def verdict(difference: Difference | None) -> str:
    """Whether one number is above or below another by more than chance brings."""
    if difference is None or not difference.is_real:
        return "no more apart than chance brings them"
    return "more than chance brings" if difference.mean > 0 else "less, by more than chance brings"


def in_sentences(found: TransferStudy) -> list[str]:
    """What one trained on reaches elsewhere, what of it is kept, and the best and worst pair."""
    return [one for one in (_elsewhere(found), _kept(found), _pairs(found)) if one]


def _elsewhere(found: TransferStudy) -> str:
    noun, features = NOUNS[found.what], found.matrices[FEATURES]
    others = [(name, matrix.other) for name, matrix in found.matrices.items() if name != FEATURES and matrix.other]
    beside = [f"the {TITLES[name]} {number(other.value, True)}" for name, other in others]
    beside.append(f"{FLOOR} {number(mean_floor(found), True)}")
    said = [f"than the {TITLES[name]}: {verdict(found.differences.get(name))}" for name, _ in others]
    return (
        f"Trained on one {noun} and tested on another, SAE features reach a macro F1 of "
        f"{with_interval(features.other)}, {', '.join(beside)}{'; ' if said else ''}{'; '.join(said)}."
    )


def _kept(found: TransferStudy) -> str:
    features = found.matrices[FEATURES]
    if features.kept is None or features.own is None:
        return ""
    lost = "" if found.loss is None else f" ({verdict(found.loss)})"
    return (
        f"Trained on the tested {NOUNS[found.what]} itself they reach {with_interval(features.own)}; elsewhere they "
        f"keep {with_interval(features.kept)} of it{lost}."
    )


def _pairs(found: TransferStudy) -> str:
    """The best and the worst pair, by the features."""
    cells = found.matrices[FEATURES].cells
    pairs = [(one, two) for one in found.sources for two in cells.get(one, {}) if one != two]
    if not pairs:
        return ""
    pairs.sort(key=lambda pair: -cells[pair[0]][pair[1]].macro_f1.value)
    shown = dict.fromkeys((pairs[0], pairs[-1]))
    return f"Trained on {'; on '.join(_pair(found, *pair) for pair in shown)}."


def _pair(found: TransferStudy, source: str, target: str) -> str:
    values = {TITLES[name]: matrix.cells[source][target].macro_f1.value for name, matrix in found.matrices.items()}
    first, *others = [(name, number(value, True)) for name, value in values.items()]
    beside = [f"{name} {value}" for name, value in others]
    beside.append(f"floor {number(found.floor[source][target], True)}")
    return f"{source}, tested on {target}: {first[1]} ({', '.join(beside)})"


def mean_floor(found: TransferStudy) -> float | None:
    """Macro F1 of the commonest class of another's training texts, mean over the pairs."""
    values = [found.floor[one][two] for one in found.sources for two in found.targets if one != two]
    return fmean(values) if values else None


def means_rows(found: TransferStudy) -> Iterator[tuple[str, ...]]:
    """A row an approach: its means, what it keeps, and how far it is from the features on another."""
    for name, matrix in found.matrices.items():
        difference = found.differences.get(name)
        apart = (
            "–" if difference is None else f"{round(-100 * difference.mean, 1) + 0.0:+.1f}{'*' * difference.is_real}"
        )
        shown = (matrix.own, matrix.other, matrix.kept, matrix.all_but)
        yield TITLES[name], *(with_interval(one, "") for one in shown), apart


def matrix_rows(found: TransferStudy, name: str) -> Iterator[tuple[str, ...]]:
    """A row a source: macro F1 on each target, with its interval; an asterisk where the features differ from others.

    Args:
        found: What was found.
        name: Of the approach.
    """
    for source, cells in found.matrices[name].cells.items():
        shown = []
        for target in found.targets:
            cell = cells.get(target)
            marks = "*" * sum(one.is_real for one in cell.differences.values()) if cell else ""
            shown.append(with_interval(cell.macro_f1 if cell else None, "") + marks)
        yield source, *shown


def few_shot_rows(found: TransferStudy) -> Iterator[tuple[str, ...]]:
    """A row an approach and source: mean macro F1 over targets and draws with so many of the target's texts."""
    numbers = shots_of(found)
    keys = dict.fromkeys((one.approach, one.source) for one in found.few_shot)
    for approach, source in keys:
        shots = [one for one in found.few_shot if (one.approach, one.source) == (approach, source)]
        cells = [_over_targets([one for one in shots if one.n == n]) for n in numbers]
        yield TITLES[approach], f"with {source}" if source else "alone", *cells


def shots_of(found: TransferStudy) -> list[int]:
    """How many texts of a target were tried."""
    return sorted({one.n for one in found.few_shot})


def _over_targets(shots: Sequence[Shots]) -> str:
    """The mean over targets, of each draw; and how far the draws are apart."""
    if not shots:
        return "–"
    of_draws = [fmean(values) for values in zip(*(one.macro_f1 for one in shots), strict=True)]
    spread = f" ± {bare_number(stdev(of_draws), True)}" if len(of_draws) > 1 else ""
    return bare_number(fmean(of_draws), True) + spread


def with_interval(one: Interval | None, unit: str = " %") -> str:
    """A share in percent and its interval; a dash where there is none."""
    if one is None:
        return "–"
    low, high = (bare_number(end, True) for end in one.ci95)
    return f"{bare_number(one.value, True)}{unit} ({low} … {high})"


def to_markdown(found: TransferStudy) -> str:
    """The sentences, the means, a matrix an approach, and what a few texts of the target add."""
    lines = [line for sentence in in_sentences(found) for line in (markdown_text(sentence), "")]
    lines += ["Mean macro F1 in percent, with 95 % intervals over test texts:", ""]
    lines += markdown_table(MEANS, means_rows(found))
    lines += [
        "",
        f"*On its own*: trained on the tested {NOUNS[found.what]}; *on another*: mean over all pairs; *from the "
        "features*: in points, on another. An asterisk: more than chance (paired bootstrap, Holm's correction).",
    ]
    for name, matrix in found.matrices.items():
        lines += ["", f"## {markdown_text(TITLES[name])}: {markdown_text(matrix.approach)}", ""]
        lines += markdown_table((r"trained on \ tested on", *found.targets), matrix_rows(found, name))
    lines += ["", "An asterisk in the features' cells: more than chance apart from the hidden state or the words; two: "
              "from both."]  # fmt: skip
    if found.few_shot:
        lines += ["", "## A few training texts of the target", ""]
        lines += markdown_table(("", "added", *(f"{n} texts" for n in shots_of(found))), few_shot_rows(found))
        lines += ["", "Mean over targets and draws ± how far the draws are apart (their standard deviation)."]
    lines += ["", *_told(found)]
    return "\n".join(lines) + "\n"


def _told(found: TransferStudy) -> list[str]:
    """What was trained and tested on, and texts of both."""
    counts = "; ".join(f"{name} {train:,} and {test:,}" for name, (train, test) in found.n_texts.items())
    lines = [f"Training and test texts: {markdown_text(counts)}. Settings are picked on a source's training texts."]
    for source, of_target in found.n_duplicates.items():
        if source not in (ALL, ALL_BUT):
            told = ", ".join(f"{count:,} of {target}" for target, count in of_target.items())
            lines += [
                "",
                markdown_text(f"Test texts that are training texts of {source}, too: {told}; no proof there."),
            ]
    return lines
