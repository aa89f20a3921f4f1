"""One measure against others, a mark a method: who gives up what (Pareto fronts)."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from sae_lens_classif.evals.measures import Measure
from sae_lens_classif.figures import style
from sae_lens_classif.figures.pies import free_box

Points = NDArray[np.float64]
_SIZE = 8.0
_SMALL = 3.5


@dataclass(frozen=True)
class Marks:
    """A method's values.

    Attributes:
        values: Its numbers by measure, one a seed or a data set each.
        competes: Whether it can be on the front.
    """

    values: Mapping[str, Sequence[float]]
    competes: bool

    def points(self, x: Measure, y: Measure) -> Points:
        """float64 (n, 2), of two measures; none where one of them is unknown."""
        columns = [self.values.get(measure.name, ()) for measure in (x, y)]
        return np.array(columns, dtype=np.float64).T if all(columns) else np.empty((0, 2))


def front(points: Points, better: Sequence[int]) -> list[int]:
    """Rows that no other row is at least as good as in everything and better than in something, the best x first.

    Args:
        points: float64 (n, d).
        better: For each of the d columns 1 where more is better, -1 where less is.
    """
    good = points * np.array(better)
    beaten = (good[None] >= good[:, None]).all(axis=2) & (good[None] > good[:, None]).any(axis=2)
    kept = np.flatnonzero(~beaten.any(axis=1)).tolist()
    return sorted(kept, key=lambda row: tuple(-good[row]))


@style.figure_style()
def tradeoffs(
    y: Measure,
    against: Sequence[Measure],
    methods: Mapping[str, Marks],
    about: str,
    new: style.NewFigure = Figure,
) -> Figure:
    """Draw a measure against others, one panel each, and the front of the methods that no other beats in both.

    Args:
        y: The measure on the vertical axes.
        against: Those on the horizontal axes.
        methods: For each method, by its title, its values.
        about: What the small marks are.
        new: Makes the figure.
    """
    figure = new(figsize=(4.9 * max(1, len(against)), 4.8), layout="constrained")
    figure.suptitle("What does each method give up?")
    legend = "Filled marks compete, hollow ones do not. Dashed: the front that no competing method beats in both."
    figure.supxlabel(f"{legend} {about}".strip(), fontsize=8, color=style.GREY)
    for axes, x in zip(figure.subplots(1, len(against), sharey=True, squeeze=False)[0], against, strict=True):
        drawn = {title: own for title, own in methods.items() if len(own.points(x, y))}
        if not drawn:
            style.say_nothing_to_show(axes, "no methods")
            continue
        _draw_panel(axes, x, y, drawn)
    style.fix_layout(figure)  # names are put where the panels are now
    for axes, x in zip(figure.axes, against, strict=True):
        _name_marks(axes, {title: own.points(x, y) for title, own in methods.items() if len(own.points(x, y))}, methods)
    return figure


def _draw_panel(axes: Axes, x: Measure, y: Measure, methods: Mapping[str, Marks]) -> None:
    for number, own in enumerate(methods.values()):
        points, looks = own.points(x, y), style.series_style(number)
        fill = looks.colour if own.competes else "white"
        if len(points) > 1:
            axes.plot(*points.T, looks.marker, color=looks.colour, markersize=_SMALL, markerfacecolor=fill, alpha=0.6)
        axes.plot(
            *points.mean(axis=0), looks.marker, color=looks.colour, markersize=_SIZE, markerfacecolor=fill, zorder=3
        )
    rivals = np.array([own.points(x, y).mean(axis=0) for own in methods.values() if own.competes]).reshape(-1, 2)
    on_front = rivals[front(rivals, (x.better, y.better))]
    axes.plot(*on_front.T, color=style.GREY, linewidth=1.2, linestyle="--", drawstyle="steps-post", zorder=1)
    axes.set_xlabel(_label(x))
    if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]  # made by subplots
        axes.set_ylabel(_label(y))
    axes.margins(0.14, 0.12)
    axes.grid(visible=True)
    for measure, axis in ((x, axes.xaxis), (y, axes.yaxis)):
        if measure.in_percent:
            axis.set_major_formatter(style.in_percent())


def _label(measure: Measure) -> str:
    title = textwrap.fill(measure.title.strip(), 48)
    return f"{title}\n{'more' if measure.better > 0 else 'less'} is better"


def _name_marks(axes: Axes, points: Mapping[str, Points], methods: Mapping[str, Marks]) -> None:
    """Put each method's name beside its mark where it covers the least, names of others included."""
    if not points:
        return
    figure = axes.figure
    centres = axes.transData.transform([own.mean(axis=0) for own in points.values()])
    small = axes.transData.transform(np.concatenate(list(points.values())))
    reach = _SIZE * figure.dpi / 72
    taken = np.concatenate([_squares(centres, reach * 0.6), _squares(small, reach * 0.3)])
    for number, (title, centre) in enumerate(zip(points, centres, strict=True)):
        colour = style.darken(style.series_style(number).colour) if methods[title].competes else style.GREY
        text = axes.text(
            0, 0, style.printable(title, 28), color=colour, fontsize=8, transform=None,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip
        size = np.array(text.get_window_extent().size)
        box = free_box(centre, size, reach * 0.8, taken, np.array(axes.bbox.p0), np.array(axes.bbox.p1))
        taken = np.concatenate([taken, box[None]])
        left, bottom, right, top = axes.transData.inverted().transform_bbox(Bbox(box.reshape(2, 2))).extents
        text.set(transform=axes.transData, position=((left + right) / 2, (bottom + top) / 2))
        text.set(horizontalalignment="center", verticalalignment="center")


def _squares(centres: Points, half: float) -> Points:
    return np.concatenate([centres - half, centres + half], axis=1)
