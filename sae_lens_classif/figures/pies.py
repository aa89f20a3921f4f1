"""Concepts as pies and classes as named marks on a map, each drawn in points around its place among the data."""

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Wedge
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, Affine2DBase, ScaledTranslation, Transform
from numpy.typing import NDArray

from sae_lens_classif.figures.style import class_colour, class_marker, darken, printable

Places = NDArray[np.float64]

_LARGEST = 19.0  # radius of a pie, in points
_SMALLEST = 1.5
_ROOM_FOR_NUMBER = 8.0  # radius from which a pie holds its number
_SHARE_OF_MAP = 0.08  # that all pies together may cover
_CLASS_RADIUS = 7.0
_UNNAMED_RADIUS = 4.0
_MANY_CLASSES = 8
_STEPS = 400
_HERE: Places = np.zeros(2)


class _Panel:
    """A panel as it is now, measured in points from its lower left corner.

    Attributes:
        axes: The panel itself.
        low: float64 (2,), lower left corner.
        high: float64 (2,), upper right corner.
    """

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self._back = _points_from(axes, (0, 0), axes.transAxes).inverted()
        self.low, self.high = self._back.transform(axes.transAxes.transform([(0, 0), (1, 1)]))

    def in_points(self, places: Places) -> Places:
        """Data coordinates, (m, 2), as points."""
        return np.asarray((self.axes.transData + self._back).transform(places.reshape(-1, 2)))

    def size_of(self, label: Text) -> Places:
        """Width and height of a text and the room around it."""
        box = label.get_window_extent().transformed(self._back)
        return np.array([box.width + 4, box.height + 4])


class _Spot:
    """A place among the data, around which is drawn in points; what is drawn stays there when the panel is resized.

    Attributes:
        axes: The panel.
        points: From points to the figure's own units.
    """

    def __init__(self, axes: Axes, place: Places) -> None:
        self.axes = axes
        self.points = _points_from(axes, (float(place[0]), float(place[1])), axes.transData)

    def wedge(self, centre: Places, radius: float, start: float = 0, end: float = 360, **look: Any) -> Wedge:
        """Draw a piece of a disc, or all of it."""
        wedge = Wedge(tuple(centre), radius, start, end, transform=self.points, **look)
        self.axes.add_patch(wedge)
        return wedge

    def line(self, *places: Places, **look: Any) -> None:
        """Draw a line through places, or a mark on a single one."""
        self.axes.add_line(Line2D(*zip(*places, strict=True), transform=self.points, **look))


def _points_from(axes: Axes, place: tuple[float, float], coordinates: Transform) -> Transform:
    """From points, counted from a place, to the figure's own units."""
    start = ScaledTranslation(*place, cast(Affine2DBase, coordinates))  # its type is only said to be wider
    return Affine2D().scale(1 / 72) + cast(Figure, axes.figure).dpi_scale_trans + start


def draw_pies(
    axes: Axes,
    numbers: Sequence[int],
    places: Places,
    beyond: Places,
    shares: Places,
    sizes: Places,
    classes: Places,
    link: str | None,
) -> Places:
    """Draw one pie a concept. Pies that would cover each other or a class are moved apart.

    Args:
        axes: The panel.
        numbers: Numbers of the n concepts.
        places: float64 (n, 2), data coordinates within the panel.
        beyond: float64 (n, 2), the way to the concept's own place where that is further out; 0 elsewhere.
        shares: float64 (n, C), slices, not negative.
        sizes: float64 (n,), what the areas are proportional to, not negative.
        classes: float64 (m, 2), the classes' places, in data coordinates.
        link: Where a pie leads in an SVG, with ``{}`` for the concept's number; None for nowhere.

    Returns:
        float64 (n, 4): left, bottom, right and top of the pies, in points from the panel's lower left corner.
    """
    panel = _Panel(axes)
    home, fixed = panel.in_points(places), panel.in_points(classes)
    radii = _radii(sizes, float((panel.high - panel.low).prod()))
    room = np.where(radii < _ROOM_FOR_NUMBER, radii + _ROOM_FOR_NUMBER, radii + 1)
    centres = spread(home, room, fixed, np.full(len(fixed), _CLASS_RADIUS), panel.low, panel.high)
    # The largest first, so that no pie hides a smaller one.
    for pie in np.argsort(-radii, kind="stable"):
        spot, centre = _Spot(axes, places[pie]), centres[pie] - home[pie]
        _draw_tie(spot, centre, radii[pie], beyond[pie])
        _draw_slices(spot, centre, radii[pie], shares[pie])
        _draw_number(spot, numbers[pie], centre, radii[pie])
        if link is not None:  # an unseen disc on top, which an SVG makes a link
            disc = spot.wedge(centre, radii[pie], zorder=8, fill=False, edgecolor="none")
            disc.set_url(link.format(numbers[pie]))
    return np.concatenate([centres - room[:, None], centres + room[:, None]], axis=1)


def draw_classes(axes: Axes, places: Places, names: Sequence[str | None], taken: Places) -> None:
    """Draw one large mark a class, and its name where it covers the least.

    Args:
        axes: The panel.
        places: float64 (C, 2), data coordinates; NaN for a class without texts.
        names: C names; None for a mark without one.
        taken: float64 (m, 4), boxes that names should not cover, in points from the panel's lower left corner.
    """
    panel = _Panel(axes)
    spots = panel.in_points(places)
    there = np.flatnonzero(np.isfinite(places).all(axis=1)).tolist()
    boxes = [*taken, *(np.concatenate([spots[one] - _CLASS_RADIUS, spots[one] + _CLASS_RADIUS]) for one in there)]
    for number in sorted(there, key=lambda one: names[one] is not None):  # those with a name on top
        colour, name, spot = class_colour(number, len(names)), names[number], _Spot(axes, places[number])
        radius = _UNNAMED_RADIUS if name is None else _CLASS_RADIUS
        spot.line(
            _HERE, zorder=6, linestyle="", marker=class_marker(number), markersize=2 * radius - 1,
            markerfacecolor=colour, markeredgecolor="black", markeredgewidth=radius / 5,
        )  # fmt: skip
        if name is not None:
            label, here = _name(spot, name, darken(colour), 10 if len(names) <= _MANY_CLASSES else 8), spots[number]
            box = free_box(here, panel.size_of(label), _CLASS_RADIUS + 1, np.array(boxes), panel.low, panel.high)
            label.set_position(tuple((box[:2] + box[2:]) / 2 - here))
            nearest = np.clip(here, box[:2], box[2:]) - here
            if np.linalg.norm(nearest) > 2 * _CLASS_RADIUS:
                spot.line(_HERE, nearest, zorder=5, color=darken(colour), linewidth=1)
            boxes.append(box)


def _name(spot: _Spot, name: str, colour: str, font_size: float) -> Text:
    background = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.85, "edgecolor": colour}
    return spot.axes.text(
        0, 0, printable(name, 24), transform=spot.points, zorder=7, ha="center", va="center", fontsize=font_size,
        color=colour, bbox=background,
    )  # fmt: skip


def _draw_tie(spot: _Spot, centre: Places, radius: float, way: Places) -> None:
    if way.any():
        out = way / np.linalg.norm(way)
        start, end = tuple(centre + out * radius), tuple(centre + out * (radius + 9))
        spot.axes.annotate(
            "", end, start, xycoords=spot.points, textcoords=spot.points, zorder=5, annotation_clip=False,
            arrowprops={"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "color": "black", "linewidth": 1},
        )  # fmt: skip
    elif np.linalg.norm(centre) > max(radius, 3):
        spot.line(_HERE, centre, zorder=3, color="black", linewidth=0.7)
        spot.line(_HERE, zorder=3, color="black", marker="o", markersize=2.5)


def _draw_slices(spot: _Spot, centre: Places, radius: float, shares: Places) -> None:
    total = shares.sum()
    ends = np.concatenate([[0.0], np.cumsum(shares) / total * 360]) if total > 0 else np.zeros(len(shares) + 1)
    spot.wedge(centre, radius, zorder=4, facecolor="#BBBBBB", edgecolor="none")
    for number in np.flatnonzero(np.diff(ends) > 0).tolist():
        # From twelve o'clock, clockwise.
        start, end = 90 - ends[number + 1], 90 - ends[number]
        colour, width = class_colour(number, len(shares)), 0.4 if end - start < 359 else 0
        spot.wedge(centre, radius, start, end, zorder=4, facecolor=colour, edgecolor="white", linewidth=width)
    spot.wedge(centre, radius, zorder=4, fill=False, edgecolor="black", linewidth=0.8)


def _draw_number(spot: _Spot, number: int, centre: Places, radius: float) -> None:
    inside = radius >= _ROOM_FOR_NUMBER
    spot.axes.text(
        centre[0], centre[1] + (0 if inside else radius + 4), str(number), transform=spot.points, zorder=5,
        ha="center", va="center", fontsize=8 if inside else 7, color="black",
        path_effects=[withStroke(linewidth=2.2, foreground="white")],
    )  # fmt: skip


def _radii(sizes: Places, area: float) -> Places:
    largest = sizes.max(initial=0)
    if largest <= 0:
        return np.full(len(sizes), _SMALLEST)
    relative = sizes / largest
    radius = min(_LARGEST, math.sqrt(_SHARE_OF_MAP * area / (math.pi * relative.sum())))
    return np.asarray(np.maximum(radius * np.sqrt(relative), _SMALLEST))


def spread(
    centres: Places, radii: Places, fixed_centres: Places, fixed_radii: Places, low: Places, high: Places
) -> Places:
    """Push discs apart until none covers another, or 400 steps are over.

    Args:
        centres: float64 (n, 2), where the discs should be.
        radii: float64 (n,).
        fixed_centres: float64 (m, 2), discs that stay where they are.
        fixed_radii: float64 (m,).
        low: float64 (2,), lower left corner that the discs stay within.
        high: float64 (2,), upper right corner.

    Returns:
        float64 (n, 2), where the discs are now.
    """
    centres = centres.copy()
    n = len(centres)
    reach = radii[:, None] + np.concatenate([radii, fixed_radii])[None]
    share = np.concatenate([np.full(n, 0.5), np.ones(len(fixed_centres))])
    # Discs in one place go different ways, the same ones every time.
    angle = 2.4 * np.arange(n)
    ways = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for _ in range(_STEPS):
        away = centres[:, None] - np.concatenate([centres, fixed_centres])[None]
        distance = np.linalg.norm(away, axis=2)
        overlap = np.clip(reach - distance, 0, None)
        overlap[np.arange(n), np.arange(n)] = 0
        if overlap.max(initial=0) < 0.1:
            break
        towards = np.where(distance[..., None] > 1e-6, away / np.maximum(distance, 1e-6)[..., None], ways[:, None])
        centres = centres + (towards * (overlap * share)[..., None]).sum(axis=1) * 0.5
        centres = np.clip(centres, low + radii[:, None], np.maximum(high - radii[:, None], low + radii[:, None]))
    return centres


def free_box(anchor: Places, size: Places, reach: float, taken: Places, low: Places, high: Places) -> Places:
    """Find the place around a mark where a name covers the least.

    Args:
        anchor: float64 (2,), centre of the mark.
        size: float64 (2,), width and height of the name.
        reach: Distance from the centre at which names begin.
        taken: float64 (m, 4), left, bottom, right and top of what is there already.
        low: float64 (2,), lower left corner of the map.
        high: float64 (2,), upper right corner.

    Returns:
        float64 (4,): left, bottom, right and top of the name.
    """
    # adjustText 1.4 was tried in its place: it covers pies and marks where this covers none, takes 3 to 30 times as
    # long, places names otherwise each time unless its steps are limited, moves no discs, and needs pyplot.
    # Above, below, beside, across corners, then between; near before far.
    sides = [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0.5, 1), (-0.5, 1), (0.5, -1)]
    ways = np.array(sides, dtype=np.float64)
    steps = np.array([1.0, 1.6, 2.4, 3.4])
    middles = (anchor + ways[None] * (reach * steps[:, None, None] + size / 2)).reshape(-1, 2)
    middles = np.clip(middles, low + size / 2, np.maximum(high - size / 2, low + size / 2))
    boxes = np.concatenate([middles - size / 2, middles + size / 2], axis=1)
    covered = _shared_area(boxes, taken).sum(axis=1)
    return np.asarray(boxes[int(covered.argmin())])


def _shared_area(boxes: Places, others: Places) -> Places:
    sides = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - np.maximum(boxes[:, None, :2], others[None, :, :2])
    return np.asarray(np.clip(sides, 0, None).prod(axis=2))
