"""Key words of concepts as word clouds."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import ImageFont
from wordcloud import WordCloud

from sae_lens_classif.figures import style

_CANVAS = (260, 150)  # what words are laid out on, in pixels
_MARGIN = 6  # around it, in pixels
_CELL = (2.5, 1.8)  # inches, with the title
_GAP = 0.12  # inches between clouds
_CLOUD = (_CELL[0] - _GAP, _CELL[1] - _GAP - 0.22)
_HEAD = 0.6  # inches
_MAX_WORDS = 30
_MAX_COLUMNS = 10


@dataclass(frozen=True)
class ConceptWords:
    """Key words of one concept.

    Attributes:
        index: Number of the concept.
        class_name: Class it belongs to; None for a concept that is never active.
        weights: Weight of each word, such as its TF-IDF; those that are not above 0 are left out.
        name: The name that it was given; may be empty.
    """

    index: int
    class_name: str | None
    weights: Mapping[str, float]
    name: str = ""


@style.figure_style()
def word_clouds(
    concepts: Sequence[ConceptWords], class_names: Sequence[str] = (), new: style.NewFigure = Figure
) -> Figure:
    """Draw one cell a concept: its words, the heavier the larger, in the colour of its class.

    Args:
        concepts: The concepts, in the order of the cells.
        class_names: The classes in their order, so that they have the colours of the other figures; without it
            colours are given in the order in which the concepts name their classes.
        new: Makes the figure.
    """
    of_concepts = (concept.class_name for concept in concepts if concept.class_name is not None)
    names = list(dict.fromkeys([*class_names, *of_concepts]))
    colours = {name: style.darken(style.class_colour(number, len(names))) for number, name in enumerate(names)}
    columns = max(1, min(_MAX_COLUMNS, math.ceil(math.sqrt(len(concepts)))))
    rows = max(1, math.ceil(len(concepts) / columns))
    width, height = max(columns * _CELL[0], 5.2), rows * _CELL[1] + _HEAD
    figure = new(figsize=(width, height))
    figure.text(0.5, 1 - 0.1 / height, "Key words of each concept", ha="center", va="top", fontsize=12)
    note = "The larger a word, the more it sets the concept's texts apart. Colour: the concept's class."
    figure.text(0.5, 1 - 0.36 / height, note, ha="center", va="top", color=style.GREY, fontsize=8)
    for place, concept in enumerate(concepts):
        row, column = divmod(place, columns)
        left = (width - columns * _CELL[0]) / 2 + column * _CELL[0] + _GAP / 2
        bottom = height - _HEAD - (row + 1) * _CELL[1] + _GAP / 2
        axes = figure.add_axes((left / width, bottom / height, _CLOUD[0] / width, _CLOUD[1] / height))
        _draw_cell(axes, concept, style.GREY if concept.class_name is None else colours[concept.class_name])
    if not concepts:
        style.say_nothing_to_show(figure.add_axes((0, 0, 1, 1)), "no concepts")
    return figure


def _draw_cell(axes: Axes, concept: ConceptWords, colour: str) -> None:
    class_name = "never active" if concept.class_name is None else style.printable(concept.class_name, 22)
    name = f"{concept.index} {style.printable(concept.name, 22)}" if concept.name else f"Concept {concept.index}"
    axes.set_title(f"{name} · {class_name}", fontsize=9, pad=3)
    weights = _drawable_weights(concept.weights)
    axes.set(xlim=(-_MARGIN, _CANVAS[0] + _MARGIN), ylim=(_CANVAS[1] + _MARGIN, -_MARGIN), xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="#C8C8C8", linewidth=0.6)
    if not weights:
        axes.text(0.5, 0.5, "no words", transform=axes.transAxes, ha="center", va="center", color=style.GREY)
        return
    points_a_pixel = _CLOUD[0] * 72 / (_CANVAS[0] + 2 * _MARGIN)
    family = style.font_for(list(weights))
    for word, x, baseline, size in _lay_out(weights, style.font_file(family)):
        axes.text(
            x, baseline, word, fontsize=size * points_a_pixel, family=[family, *style.font_families()],
            ha="left", va="baseline", color=colour,
        )  # fmt: skip


def _drawable_weights(weights: Mapping[str, float]) -> dict[str, float]:
    drawable: dict[str, float] = {}
    for word, weight in weights.items():
        text = style.printable(word, 24)
        if text and math.isfinite(weight) and weight > 0:
            drawable[text] = max(drawable.get(text, 0.0), float(weight))
    return drawable


def _lay_out(weights: Mapping[str, float], font: str) -> list[tuple[str, float, float, int]]:
    """Each word's text, x and baseline on the canvas, and font size, all in pixels."""
    cloud = WordCloud(
        font_path=font, width=_CANVAS[0], height=_CANVAS[1], margin=8, max_words=_MAX_WORDS, random_state=0,
        prefer_horizontal=1, min_font_size=9, max_font_size=44, color_func=lambda *_, **__: "black",
    )  # fmt: skip
    placed = []
    boxes = []
    for (word, _), size, (row, column), _, _ in cloud.generate_from_frequencies(weights).layout_:
        left, top, right, bottom = _pillow_font(font, size).getbbox(word, anchor="ls")  # from the baseline's start
        placed.append((word, float(column - left), float(row - top), size))
        boxes.append((column, row, column + right - left, row + bottom - top))
    if not boxes:
        return []
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    right_by = (_CANVAS[0] - min(lefts) - max(rights)) / 2
    down_by = (_CANVAS[1] - min(tops) - max(bottoms)) / 2
    return [(word, x + right_by, baseline + down_by, size) for word, x, baseline, size in placed]


@functools.cache
def _pillow_font(font: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font, size)
