"""A map of the texts' hidden states, with the concepts and the classes on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from sae_lens_classif.figures import style
from sae_lens_classif.figures.pies import Places, draw_classes, draw_pies

Floats = NDArray[np.floating[Any]]
_FURTHEST = 0.3  # how far outside the texts a concept may stand, in widths and heights of their cloud


@dataclass(frozen=True)
class Plane:
    """The first two principal components of unit vectors that were then standardised.

    Attributes:
        scaler: Fitted ``StandardScaler``.
        pca: Fitted ``PCA``.
        explained: Shares of the variance along both components, 0 to 1.
    """

    scaler: Any
    pca: Any
    explained: tuple[float, float]

    def project(self, vectors: Floats) -> Places:
        """Bring vectors into the plane.

        Args:
            vectors: float (m, d), of any length.

        Returns:
            float64 (m, 2); NaN for vectors that have no direction (zero or not finite).
        """
        unit, usable = _unit_norm(vectors)
        places = np.full((len(vectors), 2), np.nan)
        if usable.any():
            found = self.pca.transform(self.scaler.transform(unit[usable]))
            places[usable] = _two_columns(found)
        return places


@style.styled
def concept_map(
    hidden: Floats,
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    directions: Floats | None,
    class_shares: Floats,
    mean_activation: Floats,
    alive: NDArray[np.bool_],
    max_texts: int = 5000,
    link: str | None = None,
    *,
    on: style.On = Figure,
) -> Figure:
    """Draw texts, concepts and classes in the plane in which the texts' hidden states differ most.

    Hidden states are brought to unit norm and standardised; the first two principal components of all of them make
    the map, on which some of the texts are drawn. Concept directions go the same way. Pies that would cover each
    other are moved apart and tied to their place by a line; those far outside stand at the edge with an arrow.

    Args:
        hidden: float (N, d), the texts' hidden states.
        labels: int64 (N,), classes 0..C-1.
        class_names: The C classes.
        directions: float (n, d), the concepts' directions; None for a method that has none.
        class_shares: float (n, C), slices of the pies; negative ones count as 0.
        mean_activation: float (n,), mean |activation|; the area of a pie is proportional to it (its radius is
            1.5 points at least).
        alive: bool (n,), whether a concept is ever active; the others are not drawn.
        max_texts: So many texts are drawn at most.
        link: Where a pie leads in an SVG, with ``{}`` for the concept's number; None for nowhere.
        on: Makes the figure; or axes of the user's, on which the classes' names stand in for the legend.
    """
    axes = style.one_panel("Where the concepts lie among the texts", (10, 7), on)
    figure = style.figure_of(axes)
    plane = fit_plane(hidden)
    if plane is None:
        style.say_nothing_to_show(axes, "no two hidden states differ")
        return figure
    texts = plane.project(hidden)
    drawn, places = _drawn(plane, directions, alive)
    places, beyond = _frame(axes, texts, places)
    _draw_texts(axes, texts, labels, len(class_names), max_texts)
    _name_axes(axes, plane)
    named = _most_frequent(labels, len(class_names))
    if isinstance(on, Axes):
        figure.draw_without_rendering()
    else:
        note = _note(len(texts), max_texts, len(drawn), len(alive), directions is not None, bool(beyond.any()))
        figure.supxlabel(note, fontsize=8, color=style.GREY)
        _draw_legend(figure, class_names, named)
        style.fix_layout(figure)
    # What follows is placed in points: how far things are apart holds for the size that the panel has now.
    classes = _class_means(texts, labels, len(class_names))
    obstacles = classes[np.isfinite(classes).all(axis=1)]
    shares, sizes = _not_negative(class_shares[drawn]), _not_negative(mean_activation[drawn])
    taken = draw_pies(axes, drawn.tolist(), places, beyond, shares, sizes, obstacles, link)
    names = [name if number in named else None for number, name in enumerate(class_names)]
    draw_classes(axes, classes, names, taken)
    return figure


def _drawn(plane: Plane, directions: Floats | None, alive: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Places]:
    """Numbers of the concepts that have a place in the plane and are ever active, and their places."""
    if directions is None:
        return np.zeros(0, np.int64), np.zeros((0, 2))
    places = plane.project(directions)
    drawn = np.flatnonzero(alive & np.isfinite(places).all(axis=1))
    return drawn, places[drawn]


def _not_negative(numbers: Floats) -> Places:
    return np.clip(np.nan_to_num(numbers.astype(np.float64), posinf=0), 0, None)


def _class_means(texts: Places, labels: NDArray[np.int64], n_classes: int) -> Places:
    usable = np.isfinite(texts).all(axis=1)
    means = np.full((n_classes, 2), np.nan)
    for number in range(n_classes):
        members = texts[usable & (labels == number)]
        if len(members):
            means[number] = members.mean(axis=0)
    return means


def _most_frequent(labels: NDArray[np.int64], n_classes: int) -> list[int]:
    """Classes that are named, in their order: all of them where the legend has room."""
    counts = np.bincount(labels[(labels >= 0) & (labels < n_classes)], minlength=n_classes)
    return sorted(np.argsort(-counts, kind="stable")[: style.NAMES_IN_LEGEND].tolist())


def _frame(axes: Axes, texts: Places, places: Places) -> tuple[Places, Places]:
    """Choose the part of the plane that is shown.

    Returns:
        float64 (n, 2) twice: the concepts' places, those far outside moved to the edge, and their way from there to
        where they are.
    """
    low, high = np.nanquantile(texts, [0.003, 0.997], axis=0)
    span = np.maximum(high - low, 1e-3 * (high - low).max() + 1e-6)
    centre = (low + high) / 2
    reach = span * (0.5 + _FURTHEST)
    outside = np.abs((places - centre) / reach).max(axis=1, initial=1)
    shown = centre + (places - centre) / outside[:, None]
    edges = np.concatenate([shown, [low, high]])
    margin = 0.06 * span
    first, last = edges.min(axis=0) - margin, edges.max(axis=0) + margin
    axes.set(xlim=(first[0], last[0]), ylim=(first[1], last[1]))
    return shown, np.where(outside[:, None] > 1 + 1e-9, places - shown, 0)


def _draw_texts(axes: Axes, texts: Places, labels: NDArray[np.int64], n_classes: int, max_texts: int) -> None:
    order = np.random.default_rng(0).permutation(len(texts))[:max_texts]
    size = 9 if len(order) > 1000 else 16
    for number in range(n_classes):
        rows = order[labels[order] == number]
        axes.scatter(
            texts[rows, 0], texts[rows, 1], s=size, marker=style.class_marker(number),
            color=style.class_colour(number, n_classes), alpha=0.35, linewidths=0, zorder=1, rasterized=True,
        )  # fmt: skip


def _name_axes(axes: Axes, plane: Plane) -> None:
    first, second = (f"principal component ({100 * share:.0f} % of the variance)" for share in plane.explained)
    axes.set(xlabel=f"First {first}", ylabel=f"Second {second}")
    axes.grid(True)


def _note(n_texts: int, max_texts: int, n_drawn: int, n_concepts: int, has_directions: bool, some_beyond: bool) -> str:
    shown = f"{max_texts:,} of {n_texts:,} texts, drawn at random" if n_texts > max_texts else f"{n_texts:,} texts"
    lines = [f"Pale marks: {shown}. Large marks with a name: the mean of a class's texts."]
    if not has_directions:
        return f"{lines[0]}\nThis method's concepts have no direction and are not drawn."
    lines.append(
        "Pies: concepts and their numbers. Slices: the classes on whose texts a concept is active. "
        "Area: its mean activation."
    )
    rest = ["A line ties a pie to its own place."]
    if some_beyond:
        rest.append("An arrow points to a place off the map.")
    if n_drawn < n_concepts:
        rest.append(f"Not drawn: {n_concepts - n_drawn} of {n_concepts} concepts, which are never active.")
    return "\n".join([*lines, " ".join(rest)])


def _draw_legend(figure: Figure, class_names: Sequence[str], named: Sequence[int]) -> None:
    handles = [_legend_mark(number, len(class_names)) for number in named]
    labels = [style.printable(class_names[number], 24) for number in named]
    if len(named) < len(class_names):
        handles.append(Line2D([], [], linestyle=""))
        labels.append(f"and {len(class_names) - len(named)} more")
    figure.legend(handles, labels, loc="outside right upper", title="Classes", alignment="left")


def _legend_mark(number: int, n_classes: int) -> Line2D:
    return Line2D(
        [], [], linestyle="", marker=style.class_marker(number), color=style.class_colour(number, n_classes),
        markersize=8, markeredgecolor="black", markeredgewidth=0.6,
    )  # fmt: skip


def fit_plane(hidden: Floats) -> Plane | None:
    """Find the plane in which hidden states differ most.

    Args:
        hidden: float (N, d).

    Returns:
        The plane; None where fewer than two states differ.
    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    unit, usable = _unit_norm(hidden)
    unit = unit[usable]
    if len(unit) < 2:
        return None
    scaler = StandardScaler().fit(unit)
    standardised = scaler.transform(unit)
    if not standardised.any():
        return None
    pca = PCA(min(2, *standardised.shape), random_state=0).fit(standardised)
    first, second = _two_columns(pca.explained_variance_ratio_[None])[0]
    return Plane(scaler, pca, (float(first), float(second)))


def _unit_norm(vectors: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    usable = np.isfinite(largest[:, 0]) & (largest[:, 0] > 0)
    scaled = np.divide(vectors, largest, out=np.zeros_like(vectors), where=usable[:, None])  # so no square overflows
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.divide(scaled, norms, out=scaled, where=usable[:, None]), usable


def _two_columns(found: Floats) -> Places:
    return np.pad(found, ((0, 0), (0, 2 - found.shape[1]))).astype(np.float64)
