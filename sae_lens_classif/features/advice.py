"""Which model, layer, width, pooling and threshold to take, and how many features: by cross-validation alone."""

from collections.abc import Callable, Iterator

from sae_lens_classif.features.study import Study, StudyRow
from sae_lens_classif.hooks.blocks import HOOK
from sae_lens_classif.wording import bare_number

POINT = 0.01


def depth_of(row: StudyRow) -> int:
    """Blocks that are run before an approach's features can be read."""
    match = HOOK.fullmatch(row.hook or "")
    return int(match[1]) + (match[2] == "post") if match is not None else 0


def cheaper(study: Study) -> list[str]:
    """Approaches that cost less than the best and are as good, the cheapest first.

    Of the same model; at no greater depth, of no wider SAE, with no more features, and less of one of them. As good is
    what is within a standard error of the best in cross-validation (Breiman et al., Classification and Regression
    Trees, 1984): the folds themselves are as far apart.
    """
    best = study.rows[study.best]
    at_least = _cv(best) - (best.cv_standard_error or 0)
    cost = _cost(best)
    found = [
        (_cost(row), -_cv(row), name)
        for name, row in study.rows.items()
        if not row.is_baseline and row.model == best.model and _cv(row) >= at_least
        if _cost(row) != cost and all(own <= of for own, of in zip(_cost(row), cost, strict=True))
    ]
    return [name for _, _, name in sorted(found)]


def few_enough(study: Study) -> tuple[str, str] | None:
    """The fewest features that do: names of an approach with them and of that with all; None where none were tried.

    Of the model, SAE, pooling and threshold that are best with all of their features; few do where they are within a
    point of macro F1 of all in cross-validation. Where none are, the approach is that with all, too.
    """
    rows = {name: row for name, row in study.rows.items() if not row.is_baseline}
    all_of = max((name for name, row in rows.items() if row.n_features is None), key=lambda name: _cv(rows[name]))
    whole = rows[all_of]
    alike = {row.n_features: name for name, row in rows.items()
             if _features(row) == _features(whole) and row.n_features is not None}  # fmt: skip
    if not alike:
        return None
    enough = [number for number, name in alike.items() if _cv(rows[name]) >= _cv(whole) - POINT - 1e-9]
    return (alike[min(enough)] if enough else all_of), all_of


def advice(study: Study) -> Iterator[str]:
    """Sentences on which features to take, after the one that names the best."""
    others = cheaper(study)
    if others:
        name, more = others[0], f" (and {len(others) - 1} more)" if len(others) > 1 else ""
        yield (
            f"As good within a standard error over the folds, and cheaper: {name}, {_percent(study.rows[name])} % to "
            f"{_percent(study.rows[study.best])} %{more}."
        )
    compared = [words for words in (_by(study, *dimension) for dimension in _DIMENSIONS) if words]
    if compared:
        yield f"The highest in cross-validation {'; '.join(compared)}."
    few = few_enough(study)
    if few is not None:
        yield _few_words(study, *few)


def _few_words(study: Study, few: str, all_of: str) -> str:
    whole = study.rows[all_of]
    tried = [row for row in study.rows.values() if _features(row) == _features(whole) and row.n_features is not None]
    is_enough = few != all_of
    shown = study.rows[few] if is_enough else max(tried, key=_cv)
    return (
        f"Few features are {'enough' if is_enough else 'not enough'}: the best {shown.n_features} reach "
        f"{_percent(shown)} %, all {whole.width:,} of them {_percent(whole)} %."
    )


def _by(study: Study, what: str, of: Callable[[StudyRow], str], is_of_one_model: bool) -> str:
    """The highest for each value of a dimension, in words; none where it has one value alone."""
    best, highest = study.rows[study.best], dict[str, StudyRow]()
    for row in study.rows.values():
        if row.is_baseline or (is_of_one_model and row.model != best.model):
            continue
        if of(row) not in highest or _cv(row) > _cv(highest[of(row)]):
            highest[of(row)] = row
    if len(highest) < 2:
        return ""
    ordered = sorted(highest.items(), key=lambda item: -_cv(item[1]))
    return f"by {what}: " + ", ".join(f"{value} {_percent(row)}" for value, row in ordered)


def _cost(row: StudyRow) -> tuple[int, int, int]:
    width = row.width or 0
    return depth_of(row), width, row.n_features if row.n_features is not None else width


def _features(row: StudyRow) -> tuple[str | None, str, float | None, bool]:
    return row.model, row.features, row.threshold, row.is_baseline


def _cv(row: StudyRow) -> float:
    return row.cv_macro_f1 or 0.0


def _percent(row: StudyRow) -> str:
    return bare_number(row.cv_macro_f1, True)


_DIMENSIONS: tuple[tuple[str, Callable[[StudyRow], str], bool], ...] = (
    ("model", lambda row: row.model or "", False),
    ("states", lambda row: row.hook or "", True),
    ("width", lambda row: f"{row.width:,}", True),
    ("pooling", lambda row: row.pooling or "", False),
    ("threshold", lambda row: "none" if row.threshold is None else f"above {row.threshold:g}", False),
)
