"""The map of a study of features: every number in its cell, names that do not overlap, the same bytes."""

from itertools import combinations
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from sae_lens_classif.features.scores import Score
from sae_lens_classif.features.study import Study, StudyRow
from sae_lens_classif.figures.feature_heat_map import feature_heat_map
from sae_lens_classif.figures.style import fix_layout, save_figure
from tests.features.test_advice import row, study_of

POOLINGS, THRESHOLDS = ("last", "mean", "max", "counts20"), (None, 1.0)


def drawn_study(
    saes: list[tuple[str, int, int]], numbers: tuple[int | None, ...] = (None,), n_models: int = 1
) -> Study:
    """Every approach reaches another number, beside baselines and a ceiling."""
    values = iter(np.linspace(0.6, 0.9, 1000).tolist())
    models = ["/models/one", "/models/two"][:n_models] if n_models > 1 else [None]
    rows = list[tuple[str, StudyRow]]()
    for model in models:
        for source, layer, width in saes:
            rows += [
                row(next(values), source, layer, width, pooling, threshold, best, model=model)
                for pooling in POOLINGS
                for threshold in THRESHOLDS
                for best in numbers
            ]
            rows += [row(next(values), f"untrained:{source}", layer, width, "max", model=model, is_baseline=True)]
            rows += [row(next(values), "hidden:h", layer, 32, "last", model=model, is_baseline=True)]
    return study_of(*rows, ceiling=Score(0.95, (0.9, 0.99), 0.96, (0.9, 1), (0.95,)))


def texts_in(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def titles(axes: Axes) -> tuple[list[str], list[str]]:
    return [text.get_text() for text in axes.get_xticklabels()], [text.get_text() for text in axes.get_yticklabels()]


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts of which one covers a part of the other."""
    fix_layout(figure)
    words = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    boxes = [(text.get_text(), text.get_window_extent().padded(-1)) for text in words]
    return [(one, other) for (one, a), (other, b) in combinations(boxes, 2) if a.overlaps(b)]


def test_every_sae_has_a_row_and_every_pooling_and_threshold_a_column() -> None:
    study = drawn_study([("deep", 4, 100), ("wide", 1, 400), ("narrow", 1, 100)])
    figure = feature_heat_map(study)
    features, pooled, across, bar = figure.axes
    assert titles(features)[0] == [f"{how}\n{of}" for how in POOLINGS for of in ("as is", "> 1")]
    assert titles(features)[1] == [
        "narrow\nlayer 1 pre, 100 wide", "wide\nlayer 1 pre, 400 wide", "deep\nlayer 4 pre, 100 wide"
    ]  # fmt: skip
    first = study.rows["narrow/last"].cv_macro_f1
    assert first is not None
    assert texts_in(features)[:2] == [f"{100 * first:.1f}", "test 80.0"] and len(texts_in(features)) == 2 * 3 * 8
    assert titles(pooled)[1] == ["hidden states", "untrained SAEs\nthe best of 3"]
    assert titles(across)[1] == ["words (TF-IDF)", "the classifier itself (ceiling)"]
    assert texts_in(across) == ["70.0", "test 80.0", "–", "test 95.0"]
    assert bar.get_ylabel() == "macro F1 in cross-validation"


def test_of_the_pooled_baselines_the_best_in_cross_validation_is_shown() -> None:
    study = study_of(
        row(0.9),
        row(0.6, "hidden:blocks.2", 2, 8, is_baseline=True),
        row(0.5, "hidden:blocks.1", 1, 8, is_baseline=True),
        row(0.4, "untrained:deep", is_baseline=True),
    )
    pooled = feature_heat_map(study).axes[1]
    assert titles(pooled)[1] == ["hidden states\nthe best of 2", "untrained SAEs"]
    assert texts_in(pooled) == ["60.0", "test 80.0", "40.0", "test 80.0"]


def test_numbers_of_best_features_have_columns_where_they_are_few() -> None:
    few = feature_heat_map(drawn_study([("deep", 4, 100)], (None, 2))).axes[0]
    assert titles(few)[0][:3] == ["last\nas is", "last\nas is\nbest 2", "last\n> 1"] and len(titles(few)[0]) == 16
    many = feature_heat_map(drawn_study([("deep", 4, 100)], (None, 2, 5))).axes[0]
    assert titles(many)[0] == [f"{how}\n{of}" for how in POOLINGS for of in ("as is", "> 1")]


def test_nothing_overlaps_with_two_saes_nor_with_twelve_rows_of_two_models() -> None:
    two = [("/a/long/path/to/saes/layer9-4096", 9, 4096), ("/a/long/path/to/saes/layer20-4096", 20, 4096)]
    six = [
        (f"/a/long/path/to/saes/layer{layer}-{width}", layer, width) for layer in (5, 12, 19) for width in (4096, 65536)
    ]
    assert overlaps(feature_heat_map(drawn_study(two))) == []
    figure = feature_heat_map(drawn_study(six, n_models=2))
    assert len(titles(figure.axes[0])[1]) == 12 and titles(figure.axes[0])[1][0].startswith("one, layer5-4096\n")
    assert overlaps(figure) == []
    assert overlaps(feature_heat_map(study_of(row(0.9)))) == [], "one approach alone"


def test_the_best_is_framed_and_the_bytes_are_the_same(tmp_path: Path) -> None:
    study = drawn_study([("deep", 4, 100), ("wide", 1, 400)])
    figure = feature_heat_map(study)
    (frame,) = [patch for patch in figure.axes[0].patches if not patch.get_fill()]
    column = POOLINGS.index("counts20") * 2 + 1
    assert study.best == "wide/counts20, above 1" and frame.get_x() == column + 0.05  # type: ignore[attr-defined]
    one, other = (save_figure(feature_heat_map(study), tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
