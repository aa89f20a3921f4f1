"""The features behind a class, in words: those that speak for it most, with the tokens and texts that they fire on."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sae_lens_classif.checksums import sha256_of_json
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.evals.base import Exact
from sae_lens_classif.features.classifiers import ClassifierSettings, FittedClassifier, Labels, fit_classifier
from sae_lens_classif.features.pooling import above, binarised
from sae_lens_classif.features.selection import class_differences, class_means
from sae_lens_classif.features.sources import FeatureSource
from sae_lens_classif.features.store import FeatureStore
from sae_lens_classif.features.study import StudyRow
from sae_lens_classif.hooks.token_states import TokenReader

N_FEATURES = 10  # a class
N_TEXTS = 10  # a feature
_AROUND = 140  # characters of a text on each side of its most active token
_LONGEST_TOKEN = 40
_FORMAT = 1
_NEURONPEDIA = "https://www.neuronpedia.org"
Floats: TypeAlias = npt.NDArray[np.float32]
Acts: TypeAlias = dict[tuple[int, int], Floats]  # of a text's own tokens, by text and feature


class Example(Exact):
    """A training text on which a feature is active."""

    row: int = Field(description="Number of the training text.")
    label: int = Field(description="Number of its class.")
    pooled: float = Field(description="The feature of the whole text, as it is pooled, before any threshold.")
    token: str = Field(description="The token on which the feature is most active.")
    activation: float = Field(description="On that token.")
    pieces: list[tuple[str, float]] = Field(description="The text around it in pieces, each with its activation.")
    is_cut: tuple[bool, bool] = Field(description="Whether the text goes on before and after the pieces.")


class Feature(Exact):
    """What a feature fires on."""

    index: int
    name: str = Field(description="That a user gave it; else empty.")
    link: str = Field(description="Its page on Neuronpedia; empty where there is none.")
    tokens: list[str] = Field(description="Tokens on which it is most active, one a text, the most active first.")
    examples: list[Example] = Field(description="Texts where it is highest, as pooled; each text once.")


class Weight(Exact):
    """What a feature says of a class."""

    feature: int
    weight: float
    rate_in_class: float = Field(description="Share of the class's training texts on which it is active, 0..1.")
    rate_elsewhere: float = Field(description="The same of all other training texts.")


class ClassFeatures(Exact):
    """The features that speak most for a class, the strongest first."""

    class_number: int
    class_name: str
    weights: list[Weight]


class Behind(Exact):
    """``features/behind.json``: which features tell the classes apart in the approach that is best."""

    made_from: str = Field(description="SHA-256 of everything that it depends on.")
    approach: str
    source: str
    hook: str
    pooling: str
    threshold: float | None
    classifier: str = Field(description="What a weight is: see ``docs/features.md``.")
    class_names: list[str] = Field(description="Of all classes, by their numbers.")
    classes: list[ClassFeatures] = Field(description="Those that training texts have.")
    features: dict[int, Feature]


def fingerprint(
    store: FeatureStore, best: tuple[str, StudyRow], settings: ClassifierSettings, names: Mapping[int, str]
) -> str:
    """SHA-256 of everything that ``features_behind`` depends on; see there."""
    name, row = best
    approach = [name, row.features, row.threshold, row.n_features]
    return sha256_of_json([_FORMAT, store.fingerprint(), approach, asdict(settings), sorted(names.items())])


def features_behind(
    best: tuple[str, StudyRow],
    store: FeatureStore,
    data: TextData,
    reader: TokenReader,
    source: FeatureSource,
    settings: ClassifierSettings,
    names: Mapping[int, str] | None = None,
) -> Behind:
    """Fit the best approach on the training texts, and read again the few texts that its features fire on most.

    Args:
        best: Name and row of the approach.
        store: Features of the training texts.
        data: The training texts.
        reader: The model.
        source: The SAE whose features they are.
        settings: What is fitted; all but ``n_features``, which the row has.
        names: Names of features by their numbers.

    Raises:
        UserError: If the texts cannot be classified, or a state is not finite.
    """
    name, row = best
    rows: Any = store.read(row.features)
    seen = above(rows, row.threshold)
    fitted = fit_classifier(seen, data.labels, replace(settings, n_features=row.n_features), row.picked)
    classes = _classes(fitted, seen, data)
    wanted = sorted({weight.feature for one in classes for weight in one.weights})
    columns = rows[:, wanted].tocsc()
    top = {feature: _top_texts(columns[:, [place]], data.texts) for place, feature in enumerate(wanted)}
    acts = _read_again(reader, source, data.texts, top, bool(store.plan.reading["special_tokens"]))
    made = _Examples(reader, data, acts, bool(store.plan.reading["special_tokens"]))
    column = store.column(row.features)
    return Behind(
        made_from=fingerprint(store, best, settings, names or {}),
        approach=name,
        source=column.source,
        hook=column.hook,
        pooling=column.pooling,
        threshold=row.threshold,
        classifier=settings.kind,
        class_names=list(data.class_names),
        classes=classes,
        features={one: _feature(one, made.of(one, top[one]), source, names or {}) for one in wanted},
    )


def class_weights(fitted: FittedClassifier, rows: Any, labels: Labels) -> npt.NDArray[np.float64]:
    """How much each feature that a classifier uses speaks for each class.

    Args:
        fitted: The classifier.
        rows: float (N, F), what it was fitted on.
        labels: int64 (N,).

    Returns:
        float64 (C, m), of the classes that occur and the features in ascending order. Of logistic regression the
        coefficients on scaled features, of two classes one the other's negative; of prototypes the class's mean less
        the others', of rows of norm 1; of a tree the importance, which has no sign, for the class on which the
        feature's mean is most above the others'.
    """
    model, given = fitted.pipeline[-1], fitted.pipeline[:-1].transform(rows)
    if hasattr(model, "coef_"):
        weights = np.asarray(model.coef_, np.float64)
        return np.concatenate([-weights, weights]) if len(weights) == 1 else weights
    differences = class_differences(given, labels)
    if not hasattr(model, "feature_importances_"):
        return differences
    is_for = np.arange(len(differences))[:, None] == differences.argmax(axis=0)
    return np.where(is_for, model.feature_importances_, 0.0)


def _classes(fitted: FittedClassifier, seen: Any, data: TextData) -> list[ClassFeatures]:
    """For each class the features of the largest weight; what speaks against it stands with the others."""
    used, weights = np.sort(fitted.features), class_weights(fitted, seen, data.labels)
    chosen = [[one for one in np.argsort(-own, kind="stable")[:N_FEATURES] if own[one] > 0] for own in weights]
    places = {one: place for place, one in enumerate(sorted({one for of_class in chosen for one in of_class}))}
    rates = class_means(binarised(seen[:, used[list(places)]]), data.labels)
    return [
        ClassFeatures(
            class_number=int(number),
            class_name=data.class_names[number],
            weights=[
                Weight(
                    feature=int(used[one]),
                    weight=own[one],
                    rate_in_class=inside[places[one]],
                    rate_elsewhere=outside[places[one]],
                )
                for one in of_class
            ],
        )
        for number, of_class, own, inside, outside in zip(np.unique(data.labels), chosen, weights, *rates, strict=True)
    ]


def _top_texts(column: Any, texts: Sequence[str]) -> dict[int, float]:
    """Texts on which a feature, float (N, 1), is highest, with what it is there; of texts that are alike the first."""
    of_feature = column.tocoo()
    order = np.lexsort((of_feature.row, -of_feature.data))
    found, known = dict[int, float](), set[str]()
    for row, value in zip(of_feature.row[order].tolist(), of_feature.data[order].tolist(), strict=True):
        if value <= 0 or len(found) == N_TEXTS:
            break
        if texts[row] not in known:
            known.add(texts[row])
            found[row] = value
    return found


def _read_again(
    reader: TokenReader,
    source: FeatureSource,
    texts: Sequence[str],
    top: Mapping[int, Mapping[int, float]],
    special_tokens: bool,
) -> Acts:
    wanted = defaultdict[int, list[int]](list)
    for feature, rows in top.items():
        for row in rows:
            wanted[row].append(feature)
    rows_read, features = list(wanted), sorted(top)
    place: dict[int, int] = {feature: number for number, feature in enumerate(features)}
    acts: Acts = {}
    for read in reader.read([texts[row] for row in rows_read], [source.hook], special_tokens=special_tokens):
        tokens: Any = source.of_tokens(read.streams[0])[:, features]
        ends = read.lengths.cumsum(0).tolist()
        for number, start, end in zip(read.texts, [0, *ends], ends, strict=False):
            own, row = tokens[start:end].toarray(), rows_read[number]
            acts.update({(row, feature): own[:, place[feature]] for feature in wanted[row]})
    return acts


class _Examples:
    """Texts in pieces; each is tokenised once."""

    def __init__(self, reader: TokenReader, data: TextData, acts: Acts, special_tokens: bool) -> None:
        self._data, self._acts = data, acts
        rows = sorted({row for row, _ in acts})
        self._pieces = {row: reader.pieces(data.texts[row], special_tokens=special_tokens) for row in rows}

    def of(self, feature: int, top: Mapping[int, float]) -> list[Example]:
        """Examples of a feature."""
        return [self._example(row, self._acts[row, feature], pooled) for row, pooled in top.items()]

    def _example(self, row: int, acts: Floats, pooled: float) -> Example:
        pieces, at = self._pieces[row], int(acts.argmax())
        first, last = _around(pieces, at)
        n_read = sum(len(gap) + len(token) for gap, token in pieces)  # less where the model reads no further
        return Example(
            row=row,
            label=int(self._data.labels[row]),
            pooled=pooled,
            token=_in_a_line(_whole(pieces, at), _LONGEST_TOKEN).strip(),
            activation=float(acts[at]),
            pieces=_joined(pieces[first:last], acts[first:last]),
            is_cut=(first > 0, last < len(pieces) or n_read < len(self._data.texts[row].rstrip())),
        )


def _whole(pieces: Sequence[tuple[str, str]], at: int) -> str:
    """A token's characters; those of the token before where it shares them."""
    while not pieces[at][1] and at:
        at -= 1
    return pieces[at][1]


def _around(pieces: Sequence[tuple[str, str]], at: int) -> tuple[int, int]:
    """First and last of the tokens near one, in characters."""
    sizes = np.cumsum([min(len(gap) + len(token), _LONGEST_TOKEN) for gap, token in pieces])
    near = np.flatnonzero(np.abs(sizes - sizes[at]) <= _AROUND)
    return int(near[0]), int(near[-1]) + 1


def _joined(pieces: Sequence[tuple[str, str]], acts: Floats) -> list[tuple[str, float]]:
    """Pieces with their activations; those where it is none are put together."""
    found = list[tuple[str, float]]()
    for number, ((gap, token), act) in enumerate(zip(pieces, acts.tolist(), strict=True)):
        if not token and found and act > 0:  # it shares its characters with the one before
            found[-1] = (found[-1][0], max(found[-1][1], act))
            continue
        word = token.lstrip() or token  # the blank before a word is not set off with it
        before = (gap if number else "") + token[: len(token) - len(word)]
        for part, value in ((before, 0.0), (word, max(act, 0.0))):
            words = _in_a_line(part, _LONGEST_TOKEN)
            if words and found and not value and not found[-1][1]:
                found[-1] = (found[-1][0] + words, 0.0)
            elif words:
                found.append((words, value))
    return found


def _in_a_line(text: str, at_most: int) -> str:
    """White space as one blank each, and no more than so many characters."""
    words = re.sub(r"\s+", " ", text)
    return words if len(words) <= at_most else f"{words[: at_most - 1]}…"


def _feature(index: int, examples: list[Example], source: FeatureSource, names: Mapping[int, str]) -> Feature:
    strongest = sorted(examples, key=lambda example: -example.activation)
    tokens = {example.token.casefold(): example.token for example in reversed(strongest) if _is_seen(example.token)}
    link = f"{_NEURONPEDIA}/{source.neuronpedia}/{index}" if source.neuronpedia else ""
    order = dict.fromkeys(example.token.casefold() for example in strongest if _is_seen(example.token))
    return Feature(
        index=index, name=names.get(index, ""), link=link, tokens=[tokens[word] for word in order], examples=examples
    )


def _is_seen(token: str) -> bool:
    """Whether anything of a token can be seen."""
    return any(char.isprintable() and not char.isspace() for char in token)
