"""Concepts as pies and classes as named marks on a map whose panel no longer changes its size."""

import math
from collections.abc import Sequence
from typing import cast

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
    frame = _points(axes)
    low, high = _corners(axes)
    home, fixed = _in_points(axes, places), _in_points(axes, classes)
    radii = _radii(sizes, float((high - low).prod()))
    room = np.where(radii < _ROOM_FOR_NUMBER, radii + _ROOM_FOR_NUMBER, radii + 1)
    centres = spread(home, room, fixed, np.full(len(fixed), _CLASS_RADIUS), low, high)
    # The largest first, so that no pie hides a smaller one.
    for pie in np.argsort(-radii, kind="stable"):
        _draw_tie(axes, home[pie], centres[pie], radii[pie], beyond[pie], frame)
        _draw_slices(axes, centres[pie], radii[pie], shares[pie], frame)
        _draw_number(axes, numbers[pie], centres[pie], radii[pie], frame)
        if link is not None:
            _draw_link(axes, centres[pie], radii[pie], frame, link.format(numbers[pie]))
    return np.concatenate([centres - room[:, None], centres + room[:, None]], axis=1)


def draw_classes(axes: Axes, places: Places, names: Sequence[str | None], taken: Places) -> None:
    """Draw one large mark a class, and its name where it covers the least.

    Args:
        axes: The panel.
        places: float64 (C, 2), data coordinates; NaN for a class without texts.
        names: C names; None for a mark without one.
        taken: float64 (m, 4), boxes that names should not cover, in points from the panel's lower left corner.
    """
    low, high = _corners(axes)
    spots = _in_points(axes, places)
    there = np.flatnonzero(np.isfinite(places).all(axis=1)).tolist()
    boxes = [*taken, *(np.concatenate([spots[one] - _CLASS_RADIUS, spots[one] + _CLASS_RADIUS]) for one in there)]
    font_size = 10 if len(names) <= _MANY_CLASSES else 8
    for number in sorted(there, key=lambda one: names[one] is not None):  # those with a name on top
        colour, name = class_colour(number, len(names)), names[number]
        radius = _UNNAMED_RADIUS if name is None else _CLASS_RADIUS
        _draw_class(axes, spots[number], colour, class_marker(number), radius)
        if name is not None:
            label = _name(axes, name, darken(colour), font_size)
            box = free_box(spots[number], _size(axes, label), _CLASS_RADIUS + 1, np.array(boxes), low, high)
            label.set_position(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
            _tie_name(axes, spots[number], box, darken(colour))
            boxes.append(box)


def _draw_class(axes: Axes, spot: Places, colour: str, marker: str, radius: float) -> None:
    mark = Line2D(
        [spot[0]], [spot[1]], transform=_points(axes), zorder=6, linestyle="", marker=marker,
        markersize=2 * radius - 1, markerfacecolor=colour, markeredgecolor="black", markeredgewidth=radius / 5,
    )  # fmt: skip
    axes.add_line(mark)


def _name(axes: Axes, name: str, colour: str, font_size: float) -> Text:
    background = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.85, "edgecolor": colour}
    return axes.text(
        0, 0, printable(name, 24), transform=_points(axes), zorder=7, ha="center", va="center", fontsize=font_size,
        color=colour, bbox=background,
    )  # fmt: skip


def _tie_name(axes: Axes, spot: Places, box: Places, colour: str) -> None:
    nearest = np.clip(spot, box[:2], box[2:])
    if np.linalg.norm(nearest - spot) > 2 * _CLASS_RADIUS:
        line = Line2D(*zip(spot, nearest, strict=True), transform=_points(axes), zorder=5, color=colour, linewidth=1)
        axes.add_line(line)


def _draw_tie(axes: Axes, home: Places, centre: Places, radius: float, way: Places, frame: Transform) -> None:
    if way.any():
        out = way / np.linalg.norm(way)
        start, end = tuple(centre + out * radius), tuple(centre + out * (radius + 9))
        axes.annotate(
            "", end, start, xycoords=frame, textcoords=frame, zorder=5, annotation_clip=False,
            arrowprops={"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "color": "black", "linewidth": 1},
        )  # fmt: skip
    elif np.linalg.norm(home - centre) > max(radius, 3):
        line = Line2D(*zip(home, centre, strict=True), transform=frame, zorder=3, color="black", linewidth=0.7)
        dot = Line2D([home[0]], [home[1]], transform=frame, zorder=3, color="black", marker="o", markersize=2.5)
        axes.add_line(line)
        axes.add_line(dot)


def _draw_slices(axes: Axes, centre: Places, radius: float, shares: Places, frame: Transform) -> None:
    total = shares.sum()
    ends = np.concatenate([[0.0], np.cumsum(shares) / total * 360]) if total > 0 else np.zeros(len(shares) + 1)
    disc = Wedge(tuple(centre), radius, 0, 360, transform=frame, zorder=4, facecolor="#BBBBBB", edgecolor="none")
    axes.add_patch(disc)
    for number in np.flatnonzero(np.diff(ends) > 0).tolist():
        # From twelve o'clock, clockwise.
        start, end = 90 - ends[number + 1], 90 - ends[number]
        part = Wedge(
            tuple(centre), radius, start, end, transform=frame, zorder=4, facecolor=class_colour(number, len(shares)),
            edgecolor="white", linewidth=0.4 if end - start < 359 else 0,
        )  # fmt: skip
        axes.add_patch(part)
    rim = Wedge(tuple(centre), radius, 0, 360, transform=frame, zorder=4, fill=False, edgecolor="black", linewidth=0.8)
    axes.add_patch(rim)


def _draw_number(axes: Axes, number: int, centre: Places, radius: float, frame: Transform) -> None:
    inside = radius >= _ROOM_FOR_NUMBER
    axes.text(
        centre[0], centre[1] + (0 if inside else radius + 4), str(number), transform=frame, zorder=5,
        ha="center", va="center", fontsize=8 if inside else 7,
        path_effects=[withStroke(linewidth=2.2, foreground="white")],
    )  # fmt: skip


def _draw_link(axes: Axes, centre: Places, radius: float, frame: Transform, link: str | None) -> None:
    """An unseen disc on top, which an SVG makes a link."""
    disc = Wedge(tuple(centre), radius, 0, 360, transform=frame, zorder=8, fill=False, edgecolor="none")
    disc.set_url(link)
    axes.add_patch(disc)


def _radii(sizes: Places, area: float) -> Places:
    largest = sizes.max(initial=0)
    if largest <= 0:
        return np.full(len(sizes), _SMALLEST)
    relative = sizes / largest
    radius = min(_LARGEST, math.sqrt(_SHARE_OF_MAP * area / (math.pi * relative.sum())))
    return np.asarray(np.maximum(radius * np.sqrt(relative), _SMALLEST))


def _points(axes: Axes) -> Transform:
    """Points from the panel's lower left corner."""
    corner = ScaledTranslation(0, 0, cast(Affine2DBase, axes.transAxes))  # its type is only said to be wider
    return Affine2D().scale(1 / 72) + cast(Figure, axes.figure).dpi_scale_trans + corner


def _in_points(axes: Axes, places: Places) -> Places:
    return np.asarray((axes.transData + _points(axes).inverted()).transform(places.reshape(-1, 2)))


def _corners(axes: Axes) -> tuple[Places, Places]:
    back = _points(axes).inverted()
    low, high = (np.asarray(back.transform(axes.transAxes.transform(corner))) for corner in ((0, 0), (1, 1)))
    return low, high


def _size(axes: Axes, label: Text) -> Places:
    box = label.get_window_extent().transformed(_points(axes).inverted())
    return np.array([box.width + 4, box.height + 4])


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
