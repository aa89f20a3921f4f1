"""How figures look: colours for everyone, shapes for black-and-white print, fonts that can draw it, the same bytes."""

import contextlib
import functools
import io
import logging
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure as Figure  # other rooms take it from here: asked first, this room names the extra
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.style import context as style_context
from matplotlib.ticker import FuncFormatter

from sae_lens_classif.files import new_file

logger = logging.getLogger(__name__)
NewFigure = Callable[..., Figure]  # makes a figure of ``figsize`` and ``layout``: ``Figure`` itself, or ``plt.figure``
On = NewFigure | Axes  # a figure of its own, or the user's axes
_P = ParamSpec("_P")
_R = TypeVar("_R")
# Okabe and Ito's eight colours (https://jfly.uni-koeln.de/color/), those that stand out on white first.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
GREY = "#6B6B6B"
NAMES_IN_LEGEND = 20
PANELS_IN_ROW = 3
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p")
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "||||", "oooo", "++++")
# matplotlib brings the first: Latin, Greek, Cyrillic, Hebrew, Arabic. The others are used where they are installed.
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC", "Source Han Sans SC",
    "WenQuanYi Zen Hei", "Hiragino Sans", "Hiragino Sans GB", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic",
    "Malgun Gothic",
    "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Telugu", "Noto Sans Thai",
    "Nirmala UI", "Leelawadee UI",
    "Noto Sans Symbols 2", "Noto Emoji", "Segoe UI Symbol", "Arial Unicode MS",
)  # fmt: skip
_BOX = "□"
_GOLDEN = (math.sqrt(5) - 1) / 2
_RC = {
    "text.parse_math": False,  # a $ in a text is a dollar
    "svg.hashsalt": "sae_lens_classif",
    "font.size": 9,
    "axes.titlesize": 10,
    "figure.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.7,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 7,
}


@dataclass(frozen=True)
class SeriesStyle:
    """What sets one series apart from the others, in colour and without.

    Attributes:
        colour: ``#rrggbb``; at least 3:1 against white.
        marker: Matplotlib's marker.
        line: Matplotlib's line style.
        hatch: Matplotlib's hatch, for bars.
    """

    colour: str
    marker: str
    line: str | tuple[int, tuple[int, ...]]
    hatch: str


def series_style(number: int) -> SeriesStyle:
    """Style of the series with this number; the first 440 are all different."""
    colour = darken(PALETTE[number % len(PALETTE)], contrast_with_white=3)
    line, hatch = _LINES[number % len(_LINES)], _HATCHES[number % len(_HATCHES)]
    return SeriesStyle(colour, class_marker(number), line, hatch)


def class_colour(number: int, n_classes: int) -> str:
    """Colour of a class, ``#rrggbb``: of the palette up to 8 classes, of a colour map beyond.

    Neighbouring numbers lie far apart in the colour map, so that classes that stand side by side in a legend differ.
    """
    if n_classes <= len(PALETTE):
        return PALETTE[number]
    return to_hex(matplotlib.colormaps["turbo"]((number * _GOLDEN) % 1))


def class_marker(number: int) -> str:
    """Matplotlib's marker of a class; they repeat after eleven classes."""
    return _MARKERS[number % len(_MARKERS)]


def ink_on(background: str) -> str:
    """White or black, whichever is better read on a colour."""
    return max(("#ffffff", "#000000"), key=lambda ink: contrast(ink, background))


def contrast(colour: str, background: str = "#ffffff") -> float:
    """Contrast of two colours, 1 to 21 (WCAG 2.2, relative luminance)."""
    darker, lighter = sorted((_luminance(colour), _luminance(background)))
    return (lighter + 0.05) / (darker + 0.05)


def darken(colour: str, contrast_with_white: float = 4.5) -> str:
    """The same hue, dark enough to be read on white: 4.5 for words, 3 for lines (WCAG 2.2)."""
    while contrast(colour) < contrast_with_white:
        red, green, blue = to_rgb(colour)
        colour = to_hex((red * 0.96, green * 0.96, blue * 0.96))
    return colour


def lighten(colour: str, background: str, contrast_with_it: float = 4.5) -> str:
    """The same hue, light enough to be read on a dark background.

    Args:
        colour: ``#rrggbb``.
        background: ``#rrggbb``.
        contrast_with_it: As of ``contrast``.
    """
    while contrast(colour, background) < contrast_with_it:
        red, green, blue = (1 - 0.96 * (1 - part) for part in to_rgb(colour))
        colour = to_hex((red, green, blue))
    return colour


def _luminance(colour: str) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@contextlib.contextmanager
def figure_style() -> Iterator[None]:
    """Draw with matplotlib's defaults and the settings above, whatever the user's own are."""
    with style_context(["default", {**_RC, "font.family": list(font_families())}]):
        yield


def styled(draw: Callable[_P, _R]) -> Callable[_P, _R]:
    """Draw in our style; on the user's own axes (the keyword ``on``) in theirs, with our fonts behind their own."""

    @functools.wraps(draw)
    def in_style(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with _user_style() if isinstance(kwargs.get("on"), Axes) else figure_style():
            return draw(*args, **kwargs)

    return in_style


@contextlib.contextmanager
def _user_style() -> Iterator[None]:
    families = [*matplotlib.rcParams["font.family"], *font_families()]
    with matplotlib.rc_context({"text.parse_math": False, "font.family": families}):
        yield


def ink() -> str:
    """Colour of lines that must stand out: black, or what the user's style writes in."""
    return str(matplotlib.rcParams["text.color"])


@figure_style()
def save_figure(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Write a figure as PNG (200 dots an inch) and SVG: the same bytes for the same figure.

    Args:
        figure: The figure.
        path: Path without suffix; ``.png`` and ``.svg`` are added to it.

    Returns:
        Paths of the PNG and the SVG.
    """
    fix_layout(figure)
    # The version of matplotlib and the date would change the bytes.
    png = _save(figure, path, "png", {"Software": None})
    return png, _save(figure, path, "svg", {"Creator": None, "Date": None})


@figure_style()
def svg_of(figure: Figure, name: str) -> str:
    """A figure as the ``svg`` element of a page, without the head of a file; its links stay in the page.

    Args:
        figure: The figure.
        name: Begins the ids of its parts, which no other figure of the page may have.
    """
    written = io.StringIO()
    fix_layout(figure)
    figure.savefig(written, format="svg", metadata={"Creator": None, "Date": None})
    svg = written.getvalue()
    own = set(re.findall(r' id="([^"]+)"', svg))
    svg = re.sub(
        r'( id="|"#|url\(#)([^")]+)',
        lambda found: found[1] + (f"{name}-{found[2]}" if found[2] in own else found[2]),
        svg,
    )
    # Newer releases of matplotlib open links in a window of their own, older ones do not.
    return re.sub(r'(<a [^>]*?)(?: target="_blank")?>', r'\1 role="link">', svg[svg.index("<svg") :])


def fix_layout(figure: Figure) -> None:
    """Arrange the panels, once and for all: doing it again would move them by a hair."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _save(figure: Figure, path: Path, suffix: str, metadata: dict[str, None]) -> Path:
    target = path.with_name(f"{path.name}.{suffix}")
    with new_file(target) as temporary:
        figure.savefig(temporary, format=suffix, dpi=200, metadata=metadata)
    return target


def one_panel(title: str, size: tuple[float, float], on: On) -> Axes:
    """A figure of one panel, or the user's axes.

    Args:
        title: Title of the figure.
        size: Its width and height, in inches.
        on: Makes the figure; or the axes.
    """
    if isinstance(on, Axes):
        on.set_title(title)
        return on
    figure = on(figsize=size, layout="constrained")
    figure.suptitle(title)
    return figure.subplots()


def panel_grid(
    title: str, n_panels: int, size: tuple[float, float], *, share_y: bool, new: NewFigure = Figure
) -> tuple[Figure, list[Axes]]:
    """A figure of panels, three in a row.

    Args:
        title: Title of the figure.
        n_panels: Number of panels; one that stays empty where it is 0.
        size: Width and height of a panel, in inches.
        share_y: Whether all panels have the same vertical axis.
        new: Makes the figure.
    """
    n_panels = max(1, n_panels)
    columns = min(PANELS_IN_ROW, n_panels)
    rows = math.ceil(n_panels / columns)
    figure = new(figsize=(max(size[0] * columns, 5.6), size[1] * rows + 1), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(rows, columns, sharey=share_y, squeeze=False).ravel().tolist()
    for axes in panels[n_panels:]:
        axes.remove()
    return figure, panels[:n_panels]


def legend(axes: Axes, on: On, handles: Sequence[Artist], names: Sequence[str], note: str = "") -> None:
    """The legend of one panel: below it, or inside where the axes are the user's.

    Args:
        axes: The panel.
        on: What it was drawn on.
        handles: One a name.
        names: As of ``legend_below``.
        note: A line above the names.
    """
    if not isinstance(on, Axes):
        legend_below(figure_of(axes), handles, names, note)
        return
    labels = [printable(name, 48) for name in names[:NAMES_IN_LEGEND]]
    axes.legend(
        list(handles[:NAMES_IN_LEGEND]), labels, fontsize="small",
        title=note or None, title_fontproperties={"size": "x-small"},
    )  # fmt: skip


def figure_of(axes: Axes) -> Figure:
    """The whole figure that a panel is in."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def legend_below(figure: Figure, handles: Sequence[Artist], names: Sequence[str], note: str = "") -> None:
    """One legend under all panels, for which the figure grows.

    Args:
        figure: The figure.
        handles: One a name.
        names: Names of the series; those beyond the first 20 are counted, not listed.
        note: A line above the names.
    """
    labels = [printable(name, 48) for name in names[:NAMES_IN_LEGEND]]
    notes = [note] if note else []
    if len(names) > len(labels):
        notes.append(f"{len(names) - len(labels)} more lines are not named.")
    letters_across = 13 * figure.get_figwidth()
    columns = max(1, min(len(labels), int(letters_across / (max(map(len, labels), default=0) + 10))))
    figure.set_figheight(figure.get_figheight() + 0.19 * (math.ceil(len(labels) / columns) + len(notes)))
    figure.legend(
        list(handles[:NAMES_IN_LEGEND]), labels, loc="outside lower center", ncols=columns, handlelength=3.5,
        title="\n".join(notes) or None, title_fontproperties={"size": 8},
    )  # fmt: skip


def in_percent() -> FuncFormatter:
    """Tick labels for shares: 0.25 becomes ``25 %``."""
    return FuncFormatter(lambda share, _: f"{100 * share:g} %".replace("-", "−"))


def say_nothing_to_show(axes: Axes, why: str) -> None:
    """Turn a panel into one grey line of text."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=GREY)


def printable(text: str, limit: int | None = None) -> str:
    """Make a text one line that can be drawn.

    Characters that no installed font has become boxes, with one warning in the log that says what to install.

    Args:
        text: Any text.
        limit: Characters to keep, the ellipsis included; None for all.
    """
    line = " ".join("".join(map(_drawn, text)).split())
    return line if limit is None or len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _drawn(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Zl", "Zp"):
        return " "
    if any(ord(character) in has for has in characters_of_fonts().values()):
        return character
    if unicodedata.category(character) in ("Cf", "Mn", "Me"):  # they only change the character before them
        return ""
    _advise_fonts()
    return _BOX


@functools.cache
def _advise_fonts() -> None:
    logger.warning(
        "no installed font has some of the characters: figures show boxes for them; "
        "install the Noto fonts, then delete matplotlib's font cache (fontlist-*.json in matplotlib.get_cachedir())"
    )


def font_families() -> tuple[str, ...]:
    """Fonts that are installed; a character is drawn with the first that has it."""
    return tuple(characters_of_fonts())


def font_for(texts: list[str]) -> str:
    """The family that has the most of these texts' characters."""
    wanted = {ord(character) for text in texts for character in text}
    has = characters_of_fonts()
    return max(has, key=lambda family: len(wanted & has[family]))


def font_file(family: str) -> str:
    """Path of the file of an installed family, in its regular weight."""
    return str(findfont(FontProperties(family=family), fallback_to_default=False))


@functools.cache
def characters_of_fonts() -> dict[str, frozenset[int]]:
    """Code points that each installed font of the list above has."""
    installed = {entry.name for entry in fontManager.ttflist}
    return {family: frozenset(get_font(font_file(family)).get_charmap()) for family in FONTS if family in installed}
