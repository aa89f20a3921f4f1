"""What is said of a study: which features to take, which cheaper ones are as good, and whether few are enough."""

from typing import Any

import pytest

from sae_lens_classif.features.advice import advice, cheaper, depth_of, few_enough
from sae_lens_classif.features.scores import Difference, Score
from sae_lens_classif.features.study import Approach, Study, StudyRow
from sae_lens_classif.features.tables import in_a_sentence, shortened, study_rows, to_markdown


def score(f1: float) -> Score:
    return Score(f1, (f1, f1), f1, (f1, f1), (f1,), Difference(0.1, (0.05, 0.15), 0.01, True))


def row(
    cv: float | None,
    source: str | None = "deep",
    layer: int = 4,
    width: int = 100,
    pooling: str = "max",
    threshold: float | None = None,
    best: int | None = None,
    **others: Any,
) -> tuple[str, StudyRow]:
    """An approach that reaches so much in cross-validation, one standard error being 2 points."""
    features = f"{source}/{pooling}" if source is not None else "words (TF-IDF)"
    of = others.pop("model", None), others.pop("is_baseline", source is None)
    name = Approach(features, threshold, best, of[1], of[0]).name
    known = {"source": source, "hook": f"blocks.{layer}.hook_resid_pre", "width": width, "pooling": pooling}
    return name, StudyRow(
        features=features, model=of[0], **(known if source else {}), threshold=threshold, n_features=best,
        is_baseline=of[1], picked={}, cv_macro_f1=cv, cv_range=None, cv_standard_error=0.02, score=score(0.8), **others,
    )  # fmt: skip


def study_of(*rows: tuple[str, StudyRow], **others: Any) -> Study:
    known = dict([*rows, row(0.7, None)])
    best = max((name for name in known if not known[name].is_baseline), key=lambda name: known[name].cv_macro_f1 or 0)
    return Study(rows=known, best=best, best_baseline="words (TF-IDF)", n_texts=(10, 10), n_duplicates=0, **others)


def test_the_cheapest_that_is_within_a_standard_error_is_named() -> None:
    found = study_of(
        row(0.90),  # the best: layer 4, 100 wide
        row(0.89, "shallow", layer=2, width=100),
        row(0.885, "shallower", layer=1, width=100),
        row(0.879, "bad", layer=0, width=100),  # more than 0.02 below
        row(0.895, "wide", layer=1, width=200),  # shallower, but wider
        row(0.895, pooling="mean"),  # costs the same
        row(0.881, best=10),  # fewer features
        row(0.9, "hidden:h", layer=0, width=8, is_baseline=True),
    )
    assert found.best == "deep/max"
    assert cheaper(found) == ["shallower/max", "shallow/max", "deep/max, best 10"]
    words = in_a_sentence(found)
    assert "and cheaper: shallower/max, 88.5 % to 90.0 % (and 2 more)." in words
    assert "by pooling: max 90.0, mean 89.5" in words
    assert (
        "by states: blocks.4.hook_resid_pre 90.0, blocks.1.hook_resid_pre 89.5, blocks.2.hook_resid_pre 89.0" in words
    )
    assert "by width: 100 90.0, 200 89.5" in words and "by threshold" not in words and "by model" not in words


def test_where_nothing_is_cheaper_or_there_is_one_of_everything_nothing_is_said() -> None:
    assert list(advice(study_of(row(0.9)))) == []
    assert few_enough(study_of(row(0.9))) is None


def test_the_fewest_features_within_a_point_of_all_are_enough() -> None:
    tried = [row(0.9, threshold=1), row(0.7, threshold=1, best=1), row(0.89, threshold=1, best=5)]
    found = study_of(*tried, row(0.895, threshold=1, best=20), row(0.91, "shallow", best=1), row(0.5, "shallow"))
    assert few_enough(found) == ("deep/max, above 1, best 5", "deep/max, above 1"), (
        "of what is best with all of its own"
    )
    assert list(advice(found))[-1] == "Few features are enough: the best 5 reach 89.0 %, all 100 of them 90.0 %."
    assert "by threshold: none 91.0, above 1 90.0" in in_a_sentence(found)


def test_where_few_are_not_enough_the_best_of_them_is_told() -> None:
    found = study_of(row(0.9), row(0.6, best=1), row(0.88, best=5))
    assert few_enough(found) == ("deep/max", "deep/max")
    assert list(advice(found))[-1] == "Few features are not enough: the best 5 reach 88.0 %, all 100 of them 90.0 %."


def test_models_are_compared_by_their_best_and_cheaper_is_of_the_same_model() -> None:
    found = study_of(
        row(0.9, model="/some/where/big"),
        row(0.899, "shallow", layer=1, model="/some/where/small"),
        row(0.8, "shallow", layer=1, model="/some/where/big"),
    )
    assert cheaper(found) == []
    words = in_a_sentence(found)
    assert words.startswith("Best in cross-validation on the training texts: /some/where/big: deep/max.")
    assert "by model: /some/where/big 90.0, /some/where/small 89.9" in words
    assert "by states: blocks.4.hook_resid_pre 90.0, blocks.1.hook_resid_pre 80.0" in words, "of the best model"
    assert shortened(found) == {"/some/where/big": "big", "/some/where/small": "small"}


@pytest.mark.parametrize(
    ("hook", "depth"), [("blocks.3.hook_resid_pre", 3), ("blocks.3.hook_resid_post", 4), (None, 0), ("h", 0)]
)
def test_the_depth_is_the_number_of_blocks_that_are_run(hook: str | None, depth: int) -> None:
    assert depth_of(row(0.5)[1].model_copy(update={"hook": hook})) == depth


def test_the_ceiling_is_the_last_row_and_what_it_is_is_said() -> None:
    table = to_markdown(study_of(row(0.9), ceiling=Score(0.95, (0.9, 0.99), 0.96, (0.9, 1), (0.95,))))
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert rows[-1] == "| the classifier itself (ceiling) | 95.0 | 90.0 … 99.0 | 96.0 | – | – |"
    assert "The classifier itself is what the run's own classifier says; it competes with nothing here." in table
    assert "the classifier itself" not in to_markdown(study_of(row(0.9))).lower()


def test_on_a_screen_the_best_of_each_kind_of_baseline_is_shown() -> None:
    found = study_of(
        *(row(0.9 - one / 100, pooling=f"counts{one}") for one in range(1, 5)),
        row(0.5, "hidden:a", is_baseline=True), row(0.6, "hidden:b", is_baseline=True, pooling="mean"),
        row(0.4, "untrained:/a/deep", is_baseline=True), row(0.3, "untrained:/b/deep", is_baseline=True),
    )  # fmt: skip
    assert [cells[0] for cells in study_rows(found, at_most=2)] == [
        "deep/counts1", "deep/counts2", "words (TF-IDF) (baseline)", "hidden:b/mean (baseline)",
        "untrained:/a/deep/max (baseline)",
    ]  # fmt: skip
    assert len(list(study_rows(found))) == 9
