"""Measures over the values of a setting."""

import math
import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from sae_lens_classif.evals.measures import Measure
from sae_lens_classif.figures import style
from sae_lens_classif.figures.curves import Curve, about_bands, draw_curves

_LOG_FROM = 30
_MOST_TICKS = 12


@style.figure_style()
def sweep_figure(
    parameter: str,
    values: Sequence[str],
    metrics: Mapping[Measure, Mapping[str, Curve]],
    new: style.NewFigure = Figure,
) -> Figure:
    """Draw how measures change with a setting, one panel a measure.

    Numbers stand in their order, on a logarithmic axis where the largest is more than 30 times the smallest; where
    one of those is 0 or less, and for words, they stand side by side.

    Args:
        parameter: Name of the setting.
        values: Its m values.
        metrics: For each measure, for each combination of the other settings, m points in the order of the values.
        new: Makes the figure.
    """
    title = f"What changes with {style.printable(parameter, 60)}"
    figure, panels = style.panel_grid(title, len(metrics), (3.7, 3), share_y=False, new=new)
    names = list(dict.fromkeys(name for series in metrics.values() for name in series))
    if not names or not values:
        for axes in panels:
            style.say_nothing_to_show(axes, "no values")
        return figure
    order, x, log = _positions(values)
    for axes, (measure, series) in zip(panels, metrics.items(), strict=True):
        sorted_series = {name: _reorder(series.get(name, Curve(())), order) for name in names}
        handles = draw_curves(axes, x, sorted_series)
        _label(axes, measure, x, [values[place] for place in order], log)
    for axes in panels[-style.PANELS_IN_ROW :]:
        axes.set_xlabel(style.printable(parameter, 40))
    about = about_bands(list(metrics.values()), "95 % intervals")
    named = names if any(names) else []
    if named or about:
        style.legend_below(figure, handles[: len(named)], named, about)
    return figure


def _positions(values: Sequence[str]) -> tuple[list[int], list[float], bool]:
    """The values' order, their places on the axis in that order, whether the axis is logarithmic."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        numbers = [math.nan]
    side_by_side = [float(place) for place in range(len(values))]
    if not all(map(math.isfinite, numbers)):
        return list(range(len(values))), side_by_side, False
    order = sorted(range(len(values)), key=numbers.__getitem__)
    ordered = [numbers[place] for place in order]
    if ordered[0] <= 0 and ordered[-1] > _LOG_FROM * min((abs(one) for one in ordered if one), default=math.inf):
        return order, side_by_side, False
    return order, ordered, ordered[0] > 0 and ordered[-1] > _LOG_FROM * ordered[0]


def _reorder(curve: Curve, order: Sequence[int]) -> Curve:
    def pick(numbers: Sequence[float | None]) -> list[float | None]:
        return [numbers[place] if place < len(numbers) else None for place in order]

    return Curve(pick(curve.values), pick(curve.low), pick(curve.high))


def _title(measure: Measure) -> str:
    """What the panel shows, understood without the panels beside it, in at most three lines."""
    title = style.printable(measure.title or measure.name, 84)
    if measure.title.startswith(" ") and measure.column:  # a list has the measure that it belongs to above it
        title = f"{measure.column} ({title})"
    return textwrap.fill(title, 38, max_lines=3, placeholder="…")


def _label(axes: Axes, measure: Measure, x: Sequence[float], values: Sequence[str], log: bool) -> None:
    axes.set_title(_title(measure), fontsize=9)
    if log:
        axes.set_xscale("log")
    every = math.ceil(len(values) / _MOST_TICKS)
    x, values = x[::every], values[::every]
    labels = [style.printable(value, 14) for value in values]
    crowded = sum(map(len, labels)) > 28
    axes.set_xticks(x, labels, rotation=45 if crowded else 0, ha="right" if crowded else "center")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.08)
    if measure.in_percent:
        axes.yaxis.set_major_formatter(style.in_percent())
