"""Matrices: what was trained on one thing reaches on another."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from sae_lens_classif.figures import style

_CELL, _LETTER = 0.52, 0.07  # inches
_LONGEST_ROW, _LONGEST_COLUMN = 48, 24  # letters of a name
_MOST_NUMBERS = 20  # in a row; beyond, colours alone
Values = Sequence[Sequence[float | None]]


@style.figure_style()
def matrix_figure(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    panels: Mapping[str, Values],
    axes_names: tuple[str, str] = ("trained on", "tested on"),
    new: style.NewFigure = Figure,
) -> Figure:
    """Draw matrices side by side, in one scale of colours; what was tested on itself has a frame.

    Args:
        title: Of the figure.
        rows: Names of the m rows.
        columns: Names of the n columns.
        panels: By title, m × n shares 0..1; None where there is none.
        axes_names: What rows and columns are.
        new: Makes the figure.
    """
    longest = max((len(style.printable(name, _LONGEST_ROW)) for name in rows), default=0)
    size = (
        _CELL * max(len(columns), 4) + 0.4 + _LETTER * longest / max(1, min(len(panels), style.PANELS_IN_ROW)),
        _CELL * max(len(rows), 3) + 1.1,
    )
    figure, drawn_on = style.panel_grid(style.printable(title, 100), len(panels), size, share_y=True, new=new)
    known = [value for values in panels.values() for row in values for value in row if value is not None]
    if not known:
        for axes in drawn_on:
            style.say_nothing_to_show(axes, "no values")
        return figure
    image = None
    for place, (axes, (name, values)) in enumerate(zip(drawn_on, panels.items(), strict=True)):
        image = _draw(axes, values, (min(known), max(known)))
        _mark(axes, rows, columns, values)
        axes.set_title(style.printable(name, 40), fontsize=9)
        axes.set_xlabel(axes_names[1])
        if place % style.PANELS_IN_ROW == 0:
            axes.set_ylabel(axes_names[0])
    assert image is not None
    figure.colorbar(image, ax=drawn_on, format=style.in_percent(), shrink=0.7, label="macro F1")
    return figure


def _draw(axes: Axes, values: Values, limits: tuple[float, float]) -> AxesImage:
    filled = np.array([[np.nan if value is None else value for value in row] for row in values])
    image = axes.imshow(filled, cmap="cividis", vmin=limits[0], vmax=limits[1], aspect="equal")
    if filled.shape[1] > _MOST_NUMBERS:
        return image
    for (row, column), value in np.ndenumerate(filled):
        if not np.isnan(value):
            red, green, blue, _ = image.to_rgba(np.array([value]))[0].tolist()
            colour = style.ink_on(to_hex((red, green, blue)))
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    return image


def _mark(axes: Axes, rows: Sequence[str], columns: Sequence[str], values: Values) -> None:
    """Names of rows and columns, and a frame around what was tested on itself."""
    axes.set_xticks(
        range(len(columns)), [style.printable(name, _LONGEST_COLUMN) for name in columns], rotation=45, ha="right"
    )
    axes.set_yticks(range(len(rows)), [style.printable(name, _LONGEST_ROW) for name in rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for row, name in enumerate(rows):
        if name in columns and values[row][columns.index(name)] is not None:
            corner = columns.index(name) - 0.5, row - 0.5
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, linewidth=2, edgecolor=style.PALETTE[1], clip_on=False))
