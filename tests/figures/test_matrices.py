"""Matrices: every number is written where it can be read, what is tested on itself has a frame, the same bytes."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from sae_lens_classif.figures.matrices import Values, matrix_figure
from sae_lens_classif.figures.style import contrast, save_figure

ROWS, COLUMNS = ("de", "en", "all together"), ("en", "de")
PANELS: dict[str, Values] = {
    "features": [[0.5, 0.91], [0.8, 0.4], [0.6, None]],
    "words": [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]],
}


def test_numbers_stand_in_percent_where_they_belong_and_own_cells_have_a_frame() -> None:
    figure = matrix_figure("Title", ROWS, COLUMNS, PANELS)
    features, words = figure.axes[:2]
    shown = {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in features.texts}
    assert shown == {(0, 0): "50", (0, 1): "91", (1, 0): "80", (1, 1): "40", (2, 0): "60"}
    assert {patch.get_xy() for patch in features.patches if isinstance(patch, Rectangle)} == {(0.5, -0.5), (-0.5, 0.5)}
    assert [label.get_text() for label in features.get_yticklabels()] == list(ROWS)
    assert [label.get_text() for label in words.get_xticklabels()] == list(COLUMNS)


def test_numbers_can_be_read_on_every_colour() -> None:
    values: Values = [[one / 10] for one in range(10)]
    figure = matrix_figure("", [str(one) for one in range(10)], ("x",), {"": values})
    colours = figure.axes[0].images[0].to_rgba(np.array(values))[:, 0, :3]
    for row, text in enumerate(figure.axes[0].texts):
        behind = "#" + "".join(f"{round(255 * part):02x}" for part in colours[row])
        assert contrast(str(text.get_color()), behind) > 4


def test_a_figure_without_values_says_so_and_the_same_figure_is_the_same_bytes(tmp_path: Path) -> None:
    assert "no values" in matrix_figure("", (), (), {"features": []}).axes[0].texts[0].get_text()
    one, other = (save_figure(matrix_figure("Title", ROWS, COLUMNS, PANELS), tmp_path / name) for name in "ab")
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in other]


@pytest.mark.parametrize("n_columns", [1, 21])
def test_many_columns_have_colours_alone(n_columns: int) -> None:
    names = [f"language {one}" for one in range(n_columns)]
    figure = matrix_figure("Many", names, names, {"": [[0.5] * n_columns] * n_columns})
    assert len(figure.axes[0].texts) == (n_columns if n_columns == 1 else 0)
