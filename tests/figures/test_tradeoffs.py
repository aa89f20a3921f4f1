"""Fronts by brute force, and a figure whose names cover no mark and no other name."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from sae_lens_classif.evals.measures import find_measure
from sae_lens_classif.figures.style import save_figure
from sae_lens_classif.figures.tradeoffs import Marks, front, tradeoffs

Y, *AGAINST = (find_measure(name) for name in ("scaled_recovery", "mean_activation_rate", "influence"))


def _figure(n: int, n_small: int = 3, spread: float = 0.3) -> Figure:
    random = np.random.default_rng(n)
    names = (Y.name, *(x.name for x in AGAINST))
    methods = {
        f"Method {number}": Marks(
            {name: (0.5 + spread * random.uniform() + 0.01 * random.normal(size=n_small)).tolist() for name in names},
            competes=number % 4 != 3,
        )
        for number in range(n)
    }
    return tradeoffs(Y, AGAINST, methods, "Small marks: seeds.")


def test_the_front_holds_the_points_that_no_other_beats_in_both() -> None:
    random = np.random.default_rng(0)
    for better in ((1, 1), (-1, 1)):
        points = random.integers(0, 6, size=(20, 2)).astype(float)
        good = points * better
        alone = [
            row
            for row in range(20)
            if not any((good[other] >= good[row]).all() and (good[other] > good[row]).any() for other in range(20))
        ]
        found = front(points, better)
        assert sorted(found) == alone
        assert (np.diff(good[found][:, 0]) <= 0).all(), "the best on the horizontal axis first"
    assert front(np.empty((0, 2)), (1, 1)) == []
    assert front(np.array([[0.1, 0.9]]), (-1, 1)) == [0]


@pytest.mark.parametrize("n", [1, 5, 9])
def test_every_method_has_its_name_in_every_panel_and_no_name_covers_another(n: int) -> None:
    figure = _figure(n)
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert {text.get_text() for text in axes.texts} == {f"Method {number}" for number in range(n)}
        boxes = [text.get_window_extent() for text in axes.texts]
        for place, box in enumerate(boxes):
            for other in boxes[:place]:
                width = min(box.x1, other.x1) - max(box.x0, other.x0)
                height = min(box.y1, other.y1) - max(box.y0, other.y0)
                assert min(width, height) < 1


def test_it_is_drawn_without_methods_with_one_seed_and_the_same_each_time(tmp_path: Path) -> None:
    save_figure(tradeoffs(Y, AGAINST, {}, ""), tmp_path / "none")
    save_figure(tradeoffs(Y, AGAINST, {"A": Marks({Y.name: [0.5]}, competes=True)}, ""), tmp_path / "part")
    once, again = (save_figure(_figure(5, n_small=1), tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]
