"""How numbers and rows of tables are written."""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_MARKS = re.compile(r"([\\`*_{}\[\]#~])")


def bare_number(value: float | None, in_percent: bool) -> str:
    """A number in a column whose heading has the unit; a dash where there is none."""
    if value is None:
        return "–"
    return f"{100 * value:.1f}" if in_percent else f"{value:.3f}"


def number(value: float | None, in_percent: bool) -> str:
    """A number with its unit; a dash where there is none."""
    unit = " %" if in_percent and value is not None else ""
    return bare_number(value, in_percent) + unit


def points(share: float) -> str:
    """A difference of two shares, with its sign."""
    return f"{round(100 * share, 1) + 0.0:+.1f} points"  # 0.0 is added to -0.0


def about_duration(seconds: float) -> str:
    """How long something takes, no more exactly than anybody can say beforehand: seconds, minutes or hours."""
    if seconds < 90:
        value, unit = max(1, round(seconds)), "second"
    elif seconds < 90 * 60:
        value, unit = round(seconds / 60), "minute"
    else:
        value, unit = round(seconds / 3600), "hour"
    return f"{value} {unit}{'s' if value != 1 else ''}"


def class_of_concept(concept: Mapping[str, Any]) -> str:
    """The class of a concept of ``summary.json``, and where it is another the one on whose texts it is most active."""
    raised, active = concept["class_name"], concept["active_class_name"]
    return raised if raised == active else f"{raised} (most active on {active})"


def twins_of_concept(concept: Mapping[str, Any]) -> str:
    """Which concepts fire on the same texts as one of ``summary.json``, and which point the same way."""
    ways = (("fires with", "fires_with"), ("points like", "points_with"))
    return "; ".join(f"{said} {', '.join(map(str, concept[name]))}" for said, name in ways if concept.get(name))


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(text.strip().replace("|", r"\|") for text in cells) + " |"


def markdown_text(text: str) -> str:
    """Anything as plain text in Markdown: neither marks nor HTML in it count, and it is one line."""
    return _MARKS.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


def markdown_table(headings: Sequence[str], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Lines of a table in Markdown, its first column words and the others numbers."""
    head = [markdown_row(tuple(map(markdown_text, headings))), "|---|" + "---:|" * (len(headings) - 1)]
    return head + [markdown_row((markdown_text(name), *cells)) for name, *cells in rows]
