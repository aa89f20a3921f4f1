"""Texts that the installed fonts can draw."""

import functools
import logging
import unicodedata

from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

logger = logging.getLogger(__name__)
# matplotlib brings the first: Latin, Greek, Cyrillic, Hebrew, Arabic. The others are used where they are installed.
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "Hiragino Sans",
    "Hiragino Sans GB",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Noto Sans Devanagari",
    "Noto Sans Bengali",
    "Noto Sans Tamil",
    "Noto Sans Telugu",
    "Noto Sans Thai",
    "Nirmala UI",
    "Leelawadee UI",
    "Noto Sans Symbols 2",
    "Noto Emoji",
    "Segoe UI Symbol",
    "Arial Unicode MS",
)
_BOX = "□"


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
