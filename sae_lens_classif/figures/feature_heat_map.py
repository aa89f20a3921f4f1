"""What features reach, as a map: a row a layer and SAE, a column a pooling, threshold and number of features."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sae_lens_classif.features.advice import depth_of
from sae_lens_classif.features.sources import HIDDEN, UNTRAINED
from sae_lens_classif.features.study import CLASSIFIER, RANDOM, Study, StudyRow
from sae_lens_classif.features.tables import shortened
from sae_lens_classif.figures import style
from sae_lens_classif.wording import bare_number

_MOST_COLUMNS = 16
_CELL, _LINE = (0.72, 0.5), 0.3  # inches: of a cell, and of a row that goes across
_NAME = 40  # letters of a row's
_COLOURS = "cividis"  # alike for all who see colours otherwise, and in grey


class _Column(NamedTuple):
    """What a column shows."""

    pooling: str
    threshold: float | None
    n_features: int | None

    @property
    def title(self) -> str:
        """In short lines."""
        lines = [self.pooling, "as is" if self.threshold is None else f"> {self.threshold:g}"]
        return "\n".join([*lines, *([f"best {self.n_features}"] if self.n_features is not None else [])])


class _Cell(NamedTuple):
    """A number in cross-validation, if it has one, and on the test texts, in a column; None: across all."""

    column: int | None
    cv: float | None
    on_test: float
    is_best: bool = False


class _Panel(NamedTuple):
    """Rows by their names, and how high one is, in inches."""

    rows: dict[str, list[_Cell]]
    height: float
    title: str = ""


@style.figure_style()
def feature_heat_map(study: Study, new: style.NewFigure = Figure) -> Figure:
    """Draw what a study of features found: macro F1 in cross-validation, smaller below it on the test texts.

    Rows are SAEs, by model, the shallowest states first, the narrowest SAE of them first. Below them the baselines: of
    hidden states, and of untrained SAEs, the best in cross-validation; what has no pooling goes across all columns, and
    so does the run's own classifier. Where numbers of best features would make more than 16 columns, all features alone
    are shown. Colours tell the SAEs apart; what is lower than all of them has the lowest one.

    Args:
        study: What was found.
        new: Makes the figure.
    """
    columns, short = _columns(study), shortened(study)
    panels = [
        _Panel(_features(study, columns, short), _CELL[1]),
        _Panel(_pooled_baselines(study, columns), _CELL[1], "Baselines"),
        _Panel(_across(study), _LINE),
    ]
    panels = [panel for panel in panels if panel.rows]
    heights = [panel.height * len(panel.rows) for panel in panels]
    figure = new(figsize=(max(_CELL[0] * len(columns) + 4.2, 6.4), sum(heights) + 2), layout="constrained")
    figure.suptitle("Which features classify the texts?")
    figure.supxlabel(
        "Large: macro F1 in cross-validation on the training texts, in %. Small: on the test texts. "
        "Framed: the best in cross-validation.",
        fontsize=8, color=style.GREY, wrap=True,
    )  # fmt: skip
    drawn_on = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0].tolist()
    colours, is_below = _colours(panels)
    for axes, panel in zip(drawn_on, panels, strict=True):
        _draw(axes, panel, len(columns), colours)
    _name_columns(drawn_on[0], columns)
    figure.colorbar(
        colours, ax=drawn_on, format=style.in_percent(), shrink=0.7, aspect=30, extend="min" if is_below else "neither",
        label="macro F1 in cross-validation",
    )  # fmt: skip
    return figure


def _columns(study: Study) -> list[_Column]:
    """Poolings, thresholds and numbers of features in the order in which they were tried."""
    pooled = [row for row in study.rows.values() if row.pooling is not None and not row.is_baseline]
    poolings, thresholds, numbers = (
        list(dict.fromkeys(getattr(row, name) for row in pooled)) for name in ("pooling", "threshold", "n_features")
    )
    if len(poolings) * len(thresholds) * len(numbers) > _MOST_COLUMNS:
        numbers = [None]
    return [_Column(*one) for one in ((p, t, n) for p in poolings for t in thresholds for n in numbers)]


def _column(row: StudyRow, columns: Sequence[_Column]) -> int | None:
    column = _Column(row.pooling or "", row.threshold, row.n_features)
    return columns.index(column) if column in columns else None


def _features(study: Study, columns: Sequence[_Column], short: Mapping[str, str]) -> dict[str, list[_Cell]]:
    found, models = dict[str, list[_Cell]](), list(dict.fromkeys(row.model for row in study.rows.values()))
    for name, row in sorted(
        ((name, row) for name, row in study.rows.items() if not row.is_baseline),
        key=lambda item: (models.index(item[1].model), depth_of(item[1]), item[1].width or 0, item[1].source or ""),
    ):
        column = _column(row, columns)
        if column is not None:
            cell = _Cell(column, row.cv_macro_f1, row.score.macro_f1, name == study.best)
            found.setdefault(_row_name(row, short), []).append(cell)
    return found


def _pooled_baselines(study: Study, columns: Sequence[_Column]) -> dict[str, list[_Cell]]:
    """Of hidden states and of untrained SAEs, in each column the best in cross-validation."""
    found = dict[str, list[_Cell]]()
    for name, begins in (("hidden states", HIDDEN), ("untrained SAEs", UNTRAINED)):
        rows = [row for row in study.rows.values() if (row.source or "").startswith(begins) and row.cv_macro_f1]
        best = dict[int, StudyRow]()
        for row in sorted(rows, key=lambda row: row.cv_macro_f1 or 0):
            column = _column(row, columns)
            if column is not None:
                best[column] = row
        n_of = len({(row.model, row.source) for row in rows})
        cells = [_Cell(column, row.cv_macro_f1, row.score.macro_f1) for column, row in best.items()]
        if cells:
            found[f"{name}\nthe best of {n_of}" if n_of > 1 else name] = cells
    return found


def _across(study: Study) -> dict[str, list[_Cell]]:
    """What has no pooling, and at last the ceiling."""
    rows = [row for row in study.rows.values() if row.pooling is None]
    named = {"random features like the best" if row.features.startswith(RANDOM) else row.features: row for row in rows}
    found = {
        style.printable(name, _NAME): [_Cell(None, row.cv_macro_f1, row.score.macro_f1)] for name, row in named.items()
    }
    if study.ceiling is not None:
        found[f"{CLASSIFIER} (ceiling)"] = [_Cell(None, None, study.ceiling.macro_f1)]
    return found


def _row_name(row: StudyRow, short: Mapping[str, str]) -> str:
    """Two lines: which SAE, of which model; which states it reads, how wide it is."""
    source = row.source or ""
    model = f"{short.get(row.model, row.model)}, " if row.model is not None else ""
    states = (row.hook or "").replace("blocks.", "layer ").replace(".hook_resid_", " ")
    name = style.printable(model + short.get(source, source), _NAME)
    return f"{name}\n{states}, {row.width:,} wide"


def _colours(panels: Sequence[_Panel]) -> tuple[ScalarMappable, bool]:
    """Colours from the lowest of the SAEs to the highest of all, and whether a baseline is below them."""
    first, *_ = every = [
        [cell.cv for cells in panel.rows.values() for cell in cells if cell.cv is not None] for panel in panels
    ]
    low, high = min(first), max(max(values, default=0.0) for values in every)
    is_below = any(value < low for values in every for value in values)
    return ScalarMappable(Normalize(low, high if high > low else low + 0.01), matplotlib.colormaps[_COLOURS]), is_below


def _draw(axes: Axes, panel: _Panel, n_columns: int, colours: ScalarMappable) -> None:
    axes.set_xlim(0, n_columns)
    axes.set_ylim(len(panel.rows), 0)
    axes.set_xticks([])
    axes.set_yticks([place + 0.5 for place in range(len(panel.rows))], list(panel.rows), fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(panel.title, fontsize=9, loc="left", color=style.GREY)
    for place, cells in enumerate(panel.rows.values()):
        for cell in cells:
            _draw_cell(axes, place, cell, n_columns, colours)


def _draw_cell(axes: Axes, place: int, cell: _Cell, n_columns: int, colours: ScalarMappable) -> None:
    fill = "#ffffff" if cell.cv is None else to_hex(tuple(colours.to_rgba(np.array([cell.cv]))[0].tolist()))
    start, width = (0, n_columns) if cell.column is None else (cell.column, 1)
    axes.add_patch(Rectangle((start, place), width, 1, facecolor=fill, edgecolor="white"))
    if cell.is_best:
        inside = (start + 0.05, place + 0.05), width - 0.1, 0.9
        axes.add_patch(Rectangle(*inside, fill=False, linewidth=2.2, edgecolor=style.PALETTE[1]))
    ink = style.ink_on(fill)
    in_cv = "–" if cell.cv is None else bare_number(cell.cv, True)
    middle, on_test = start + width / 2, f"test {bare_number(cell.on_test, True)}"
    if cell.column is None:
        axes.text(middle - 0.05, place + 0.5, in_cv, ha="right", va="center", fontsize=9, color=ink)
        axes.text(middle + 0.05, place + 0.53, on_test, ha="left", va="center", fontsize=6.5, color=ink)
        return
    axes.text(middle, place + 0.38, in_cv, ha="center", va="center", fontsize=9, color=ink)
    axes.text(middle, place + 0.75, on_test, ha="center", va="center", fontsize=6.5, color=ink)


def _name_columns(axes: Axes, columns: Sequence[_Column]) -> None:
    """Their names above them, and a line between poolings."""
    axes.xaxis.tick_top()
    axes.set_xticks([place + 0.5 for place in range(len(columns))], [one.title for one in columns], fontsize=8)
    axes.tick_params(axis="x", length=0)
    for number, (left, right) in enumerate(pairwise(columns), start=1):
        if left.pooling != right.pooling:
            axes.axvline(number, color=style.ink(), linewidth=0.8)
