"""Curves and bars of the measures: likeness of texts, activation rates, concepts zeroed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from sae_lens_classif.figures import style

Numbers = Sequence[float | None]
_MOST_HATCHED_BARS = 40
_MOST_BANDS = 4
_MOST_MARKERS = 24


@dataclass(frozen=True)
class Curve:
    """Points of one line; None (or NaN) where a point is missing.

    Attributes:
        values: The points.
        low: Lower ends of their intervals; empty without intervals.
        high: Upper ends.
    """

    values: Numbers
    low: Numbers = ()
    high: Numbers = ()

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or len(self.low) not in (0, len(self.values)):
            raise ValueError(f"{len(self.values)} values, {len(self.low)} lower and {len(self.high)} upper ends")


@style.styled
def sentence_sim_curves(
    series: Mapping[str, Curve],
    floor: float | None = None,
    bands: str = "95 % intervals",
    *,
    on: style.On = Figure,
) -> Figure:
    """Draw how alike texts are that share concepts, one line a method.

    Args:
        series: For each method its SentenceSim at 1, 2, … shared concepts.
        floor: Mean cosine of all pairs of texts of the data set.
        bands: What the curves' intervals are, in words.
        on: Makes the figure; or the user's axes.
    """
    axes = style.one_panel("Are texts that share more concepts more alike?", (6.8, 4.5), on)
    if not series:
        style.say_nothing_to_show(axes, "no methods")
        return style.figure_of(axes)
    length = max(len(curve.values) for curve in series.values())
    handles = draw_curves(axes, range(1, length + 1), series)
    names = list(series)
    if floor is not None and math.isfinite(floor):
        handles.append(axes.axhline(floor, color=style.ink(), linewidth=1, linestyle=(0, (1, 2))))
        names.append("any two texts (mean)")
    axes.set(
        xlabel="Number of concepts that two texts share\n(of the five strongest of each)",
        ylabel="Mean cosine of the texts' embeddings\n(SentenceSim)",
        xticks=range(1, length + 1),
        xlim=(0.8, length + 0.2),
    )
    style.legend(axes, on, handles, names, about_bands([series], bands))
    return style.figure_of(axes)


@style.styled
def activation_rates(series: Mapping[str, Numbers], gamma: float = 0.1, *, on: style.On = Figure) -> Figure:
    """Draw on how many texts each concept is active, one panel a method.

    Args:
        series: For each method the activation rates of its concepts, 0 to 1.
        gamma: The share of texts on which the loss lets a concept be active at no cost, 0 to 1.
        on: Makes the figure; or the user's axes, for one method.
    """
    if isinstance(on, Axes):
        panels = [on]
    else:
        title = "How often is each concept active?"
        _, panels = style.panel_grid(title, len(series), (3.6, 2.7), share_y=True, new=on)
    if not series:
        style.say_nothing_to_show(panels[0], "no methods")
        return style.figure_of(panels[0])
    handles: list[Artist] = []
    for number, (axes, (name, rates)) in enumerate(zip(panels, series.items(), strict=True)):
        handles = _draw_rates(axes, name, _array(rates), gamma, style.series_style(number))
    for axes in panels[:: style.PANELS_IN_ROW]:
        axes.set_ylabel("Texts on which it is active")
    panels[0].yaxis.set_major_formatter(style.in_percent())
    panels[0].set_ylim(bottom=0)
    about_gamma = f"γ = {100 * gamma:g} %: what ClassifSAE's loss aims at"
    style.legend(panels[0], on, handles, ["mean of the method's concepts", about_gamma])
    return style.figure_of(panels[0])


@style.figure_style()
def ablation_curves(
    tvd: Mapping[str, Curve],
    label_flip_rate: Mapping[str, Curve],
    percents: Sequence[int] = (25, 50, 75, 100),
    bands: str = "95 % intervals",
    new: style.NewFigure = Figure,
) -> Figure:
    """Draw what zeroing more and more of a class's concepts does, one line a method (or a class of one method).

    Args:
        tvd: For each line its total variation distances at the percentages, 0 to 1.
        label_flip_rate: For each line its shares of texts with another predicted class, 0 to 1.
        percents: Shares of a class's concepts that are zeroed.
        bands: What the curves' intervals are, in words.
        new: Makes the figure.
    """
    titled = {
        "Mean shift of the class probabilities (TVD)": tvd,
        "Texts whose predicted class changes": label_flip_rate,
    }
    figure = _two_panels(
        "What changes when a class's concepts are zeroed?",
        titled,
        percents,
        about_bands([tvd, label_flip_rate], bands),
        new,
    )
    for axes in figure.axes:
        axes.set(xticks=percents, xlabel="Concepts of a class that are zeroed, the strongest first")
        axes.xaxis.set_major_formatter(PercentFormatter(100, symbol=" %"))
    return figure


@style.figure_style()
def sufficiency_curves(
    kept: Mapping[str, Curve], changed: Mapping[str, Curve], order: str = "", new: style.NewFigure = Figure
) -> Figure:
    """Draw how many decisions stay with a few concepts of a text alone, and how many change without them.

    Args:
        kept: For each line the shares of decisions that stay with the first 0, 1, 2, … concepts alone.
        changed: For each line the shares that change without them.
        order: In which order concepts are taken, in words, where the lines' names do not say it.
        new: Makes the figure.
    """
    both = (kept, changed)
    length = max((_still_from(curve.values) for series in both for curve in series.values()), default=0)
    kept, changed = ({name: Curve(curve.values[:length]) for name, curve in series.items()} for series in both)
    titled = {"Decisions that stay with these concepts alone": kept, "Decisions that change without them": changed}
    at_0 = "At 0, left: with no concept at all; right: with all of them and nothing else of the hidden state."
    note = f"{order} {at_0}".strip()
    figure = _two_panels("How many concepts of a text carry its decision?", titled, range(length), note, new)
    for axes, done in zip(figure.axes, ("kept", "removed"), strict=True):
        axes.set(xlabel=f"Number of the text's concepts that are {done}", ylim=(0, 1.03))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    return figure


def _still_from(values: Numbers) -> int:
    """How many points a curve has until it no longer changes, and one more."""
    last = values[-1] if values else None
    return min(len(values), 2 + max((place for place, value in enumerate(values) if value != last), default=0))


def _two_panels(
    title: str,
    titled: Mapping[str, Mapping[str, Curve]],
    x: Sequence[float],
    note: str,
    new: style.NewFigure,
) -> Figure:
    """Curves of shares in two panels, by the panels' titles, with one legend."""
    figure = new(figsize=(9, 4.3), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, 2)
    names = list(dict.fromkeys(name for series in titled.values() for name in series))
    if not names:
        style.say_nothing_to_show(panels[0], "no methods")
        panels[1].set_axis_off()
        return figure
    for axes, (panel_title, series) in zip(panels, titled.items(), strict=True):
        handles = draw_curves(axes, x, {name: series.get(name, Curve(())) for name in names})
        axes.set_title(panel_title)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(style.in_percent())
    style.legend_below(figure, handles, names, note)
    return figure


def ablation_of_each_class(
    rows: Sequence[Mapping[str, Any]], measure: str, class_names: Sequence[str], percents: Sequence[int]
) -> dict[str, Curve]:
    """Curves of one method, one a class.

    Args:
        rows: ``details["global"]`` of the causality evaluation.
        measure: ``tvd`` or ``label_flip_rate``.
        class_names: The classes; one without rows has no curve.
        percents: Points of the curves.
    """
    found = {(row["class"], row["percent"]): row[measure] for row in rows}
    return {
        name: Curve([found.get((number, percent)) for percent in percents])
        for number, name in enumerate(class_names)
        if any((number, percent) in found for percent in percents)
    }


def ablation_over_classes(rows: Sequence[Mapping[str, Any]], measure: str, percents: Sequence[int]) -> Curve:
    """Curve of one method: the mean over classes.

    Args:
        rows: ``details["global"]`` of the causality evaluation.
        measure: ``tvd`` or ``label_flip_rate``.
        percents: Points of the curve. A class that has too few concepts for a point is left out of it.
    """
    rows = [row for row in rows if row[measure] is not None]
    at = [[row[measure] for row in rows if row["percent"] == percent] for percent in percents]
    return Curve([sum(values) / len(values) if values else None for values in at])


def draw_curves(axes: Axes, x: Sequence[float], series: Mapping[str, Curve]) -> list[Artist]:
    """Draw lines with their intervals: bands where few lines share the panel, vertical lines for each point.

    Args:
        axes: The panel.
        x: Where the points are; points that a curve lacks at its end are missing.
        series: The lines.

    Returns:
        Handles for a legend, in the series' order.
    """
    axes.grid(True)
    places = np.asarray(x, dtype=np.float64)
    band = len(series) <= _MOST_BANDS
    return [
        _draw_curve(axes, places, curve, style.series_style(number), band)
        for number, curve in enumerate(series.values())
    ]


def about_bands(groups: Sequence[Mapping[str, Curve]], bands: str) -> str:
    """The line of a legend that says what the intervals are; empty without any."""
    drawn = any(curve.low for series in groups for curve in series.values())
    return f"Bands and vertical lines: {bands}." if drawn else ""


def _draw_curve(axes: Axes, x: NDArray[np.float64], curve: Curve, look: style.SeriesStyle, band: bool) -> Artist:
    values, low, high = (_array(numbers)[: len(x)] for numbers in (curve.values, curve.low, curve.high))
    x = x[: len(values)]
    known = np.isfinite(low) & np.isfinite(high)
    if known.any():
        if band:
            axes.fill_between(x, low, high, where=known.tolist(), color=look.colour, alpha=0.13, linewidth=0)
        axes.vlines(x[known], low[known], high[known], color=look.colour, linewidth=0.9)
    return axes.plot(
        x, values, color=look.colour, marker=look.marker, linestyle=look.line,
        markeredgecolor="white", markeredgewidth=0.6, markevery=max(1, len(x) // _MOST_MARKERS),
    )[0]  # fmt: skip


def _draw_rates(
    axes: Axes, name: str, rates: NDArray[np.float64], gamma: float, look: style.SeriesStyle
) -> list[Artist]:
    rates = -np.sort(-rates[np.isfinite(rates)])
    hatch = look.hatch if len(rates) <= _MOST_HATCHED_BARS else ""
    axes.bar(np.arange(1, len(rates) + 1), rates, color=look.colour, hatch=hatch, edgecolor="white", linewidth=0.3)
    axes.set(xlim=(0.3, max(len(rates), 1) + 0.7), xlabel="Concepts, the most often active first")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(labelleft=True)
    about = f"mean {100 * rates.mean():.1f} %, largest {100 * rates.max():.1f} %" if len(rates) else "no concepts"
    axes.set_title(f"{style.printable(name, 34)}\n{about}", fontsize=9)
    halo = [withStroke(linewidth=3, foreground=axes.get_facecolor())]
    mean = float(rates.mean()) if len(rates) else math.nan
    return [
        axes.axhline(at, color=style.ink(), linestyle=line, path_effects=halo)
        for at, line in ((mean, "-"), (gamma, "--"))
    ]


def _array(numbers: Numbers) -> NDArray[np.float64]:
    values = np.array([math.nan if number is None else number for number in numbers], dtype=np.float64)
    return np.where(np.isfinite(values), values, math.nan)
