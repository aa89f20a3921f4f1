"""What the page about a study of features shows: matrices in colour, and the features behind each class."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sae_lens_classif.evals.slices import words_in
from sae_lens_classif.features.behind import Behind, Example, Feature, Weight
from sae_lens_classif.features.sources import HIDDEN, UNTRAINED
from sae_lens_classif.features.study import Study, StudyRow
from sae_lens_classif.report.masking import masked
from sae_lens_classif.wording import bare_number

_STRONGEST = 0.6  # opacity on which black and white letters can both be read
_PALEST = 0.08
AS_THEY_ARE = "as they are"
Said: TypeAlias = Callable[[str], str]
Key: TypeAlias = "tuple[str, str]"


@dataclass(frozen=True)
class Cell:
    """One number of a matrix.

    Attributes:
        value: The number.
        below: What stands below it, smaller.
        share: How strong its colour is, 0..100.
        is_best: Whether it is the one to look at.
    """

    value: str
    below: str
    share: float
    is_best: bool = False


Row: TypeAlias = "tuple[str, tuple[Cell | None, ...]]"


@dataclass(frozen=True)
class Matrix:
    """Numbers with names of their rows and columns.

    Attributes:
        name: Part of an address on the page.
        title: Its heading.
        about: How to read it, in a sentence or two.
        rows_are: What the rows are, and ``columns_are`` the columns.
        columns: Names of the columns.
        groups: Of rows, each with a heading that may be empty; of a row its name and cells, None where there is no
            number.
    """

    name: str
    title: str
    about: str
    rows_are: str
    columns_are: str
    columns: tuple[str, ...]
    groups: tuple[tuple[str, tuple[Row, ...]], ...]


@dataclass(frozen=True)
class ShownExample:
    """A text on which a feature is active.

    Attributes:
        row: Number of the training text.
        label: Number of its class.
        pieces: The text around the most active token, each piece with the opacity of its colour, 0 for none, and its
            activation.
    """

    row: int
    label: int
    pieces: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class ShownFeature:
    """A feature that speaks for a class.

    Attributes:
        feature: Its number, name, link and tokens.
        weight: How much it speaks for the class.
        examples: Texts.
    """

    feature: Feature
    weight: Weight
    examples: tuple[ShownExample, ...]


def matrix_of(
    name: str,
    title: str,
    about: str,
    axes: tuple[str, str],
    values: Mapping[Key, tuple[float, tuple[float, float] | None]],
    floor: float = 0.0,
) -> Matrix:
    """A matrix of shares with intervals, as of training on one language and testing on another.

    Args:
        name: Part of an address on the page.
        title: Its heading.
        about: How to read it.
        axes: What the rows and the columns are.
        values: By row and column, in their order, 0..1; with a 95 % interval, or None.
        floor: What nothing reaches less than, as the share of the commonest class: it has no colour.
    """
    rows, columns = (list(dict.fromkeys(key[axis] for key in values)) for axis in (0, 1))
    most = max((value for value, _ in values.values()), default=1.0)

    def cell(key: Key) -> Cell | None:
        if key not in values:
            return None
        value, interval = values[key]
        below = " to ".join(bare_number(limit, True) for limit in interval or ())
        return Cell(bare_number(value, True), below, _share(value, floor, most))

    cells = tuple((row, tuple(cell((row, column)) for column in columns)) for row in rows)
    return Matrix(name, title, about, *axes, tuple(columns), (("", cells),))


def heat_maps(study: Study, said: Said) -> list[Matrix]:
    """Macro F1 by source and pooling, and where fewer features were tried by their number.

    Args:
        study: What was found.
        said: Writes a folder by its last part.
    """
    rows = {_Place.of(row, said): (name, row) for name, row in study.rows.items() if _is_pooled(row)}
    with_all = {place: found for place, found in rows.items() if place.n_features is None}
    maps = [
        _heat_map("pooling", "By pooling", "pooling", study, {(p.words, p.pooling): f for p, f in with_all.items()})
    ]
    numbers = sorted({place.n_features for place in rows if place.n_features is not None})
    if numbers:
        best = dict[str, tuple[float, str]]()
        for place, (_, row) in rows.items():
            best[place.words] = max(best.get(place.words, (-1.0, "")), (row.cv_macro_f1 or 0.0, place.pooling))
        of_best = {place: found for place, found in rows.items() if best[place.words][1] == place.pooling}
        by_number = {
            (f"{place.words}, {place.pooling}", f"best {place.n_features}" if place.n_features else "all"): found
            for number in (*numbers, None)
            for place, found in of_best.items()
            if place.n_features == number
        }
        maps.append(_heat_map("number", "By the number of features", "features used", study, by_number))
    return [one for one in maps if one.groups]


def _is_pooled(row: StudyRow) -> bool:
    return row.cv_range is not None and row.source is not None and row.pooling is not None


@dataclass(frozen=True)
class _Place:
    """Where an approach stands."""

    words: str
    pooling: str
    n_features: int | None

    @classmethod
    def of(cls, row: StudyRow, said: Said) -> "_Place":
        form = "" if row.threshold is None else f", ones above {row.threshold:g}"
        return cls(f"{in_words(row, said)}{form}", row.pooling or "", row.n_features)


def in_words(row: StudyRow, said: Said) -> str:
    """Whose features an approach takes, for whoever does not know our names."""
    source, model = row.source or row.features, "" if row.model is None else f"{said(row.model)}: "
    if source.startswith(HIDDEN):
        return f"{model}hidden state, {source.removeprefix(HIDDEN)}"
    if source.startswith(UNTRAINED):
        return f"{model}{said(source.removeprefix(UNTRAINED))} with random weights"
    return f"{model}{said(source)}, {row.hook}"


def _heat_map(
    name: str, title: str, columns_are: str, study: Study, found: Mapping[Key, tuple[str, StudyRow]]
) -> Matrix:
    is_baseline = {key[0]: row.is_baseline for key, (_, row) in found.items()}
    columns = list(dict.fromkeys(key[1] for key in found))
    # By the SAEs alone: one baseline far below would leave them all of one colour.
    values = [row.cv_macro_f1 or 0.0 for row in study.rows.values() if _is_pooled(row) and not row.is_baseline]
    least, most = min(values), max(values)

    def cell(key: Key) -> Cell | None:
        if key not in found:
            return None
        approach, row = found[key]
        value, test = row.cv_macro_f1 or 0.0, bare_number(row.score.macro_f1, True)
        return Cell(bare_number(value, True), f"test {test}", _share(value, least, most), approach == study.best)

    def rows(baselines: bool) -> tuple[Row, ...]:
        names = [name for name, is_one in is_baseline.items() if is_one == baselines]
        return tuple((name, tuple(cell((name, column)) for column in columns)) for name in names)

    about = (
        "Macro F1 in cross-validation on the training texts, in percent: choose by it; the best that is no baseline is "
        "marked. Smaller, below it, that on the test texts. The stronger the colour, the higher; the lowest has none."
    )
    groups = tuple((title, of) for title, of in (("SAEs", rows(False)), ("Baselines", rows(True))) if of)
    return Matrix(name, title, about, "features of", columns_are, tuple(columns), groups)


def _share(value: float, least: float, most: float) -> float:
    return round(100 * min(max((value - least) / (most - least), 0.0), 1.0), 1) if most > least else 50.0


def shown_features(behind: Behind, mask: bool = False) -> list[list[ShownFeature]]:
    """For each class its features with their texts.

    Args:
        behind: What was found.
        mask: Whether handles and addresses are masked in texts.
    """
    features = {index: _shown(feature, mask) for index, feature in behind.features.items()}
    return [
        [ShownFeature(features[weight.feature][0], weight, features[weight.feature][1]) for weight in one.weights]
        for one in behind.classes
    ]


def _shown(feature: Feature, mask: bool) -> tuple[Feature, tuple[ShownExample, ...]]:
    largest = max((example.activation for example in feature.examples), default=0.0)
    examples = tuple(_example(example, largest, mask) for example in feature.examples)
    if not mask:
        return feature, examples
    visible = set[str]().union(*(words_in(piece) for example in examples for piece, _, _ in example.pieces))
    tokens = [token for token in feature.tokens if words_in(token) <= visible]
    return feature.model_copy(update={"tokens": tokens}), examples


def _example(example: Example, largest: float, mask: bool) -> ShownExample:
    before, after = ("…" if is_cut else "" for is_cut in example.is_cut)
    plain = "".join(piece for piece, _ in example.pieces)
    if mask and masked(whole := _whole_words(plain, example.is_cut)) != whole:
        # What is masked spans several tokens, so none of them is set off.
        return ShownExample(example.row, example.label, ((f"{before}{masked(whole)}{after}", 0.0, 0.0),))
    shown = [(piece, _opacity(act, largest), act) for piece, act in example.pieces]
    edges = [((edge, 0.0, 0.0),) if edge else () for edge in (before, after)]
    return ShownExample(example.row, example.label, (*edges[0], *shown, *edges[1]))


def _opacity(activation: float, largest: float) -> float:
    share = round(_STRONGEST * activation / largest, 2) if activation > 0 and largest > 0 else 0.0
    return max(share, _PALEST) if share else 0.0


def _whole_words(text: str, is_cut: Sequence[bool]) -> str:
    """Without the halves of words at its ends, which may be the end of a name."""
    text = re.sub(r"^\S+", "", text) if is_cut[0] else text
    return re.sub(r"\S+$", "", text) if is_cut[1] else text
