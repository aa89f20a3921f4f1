"""Pages from templates. What is put into HTML is escaped; in Markdown the filters `text` and `row` do it."""

from functools import cache

from sae_lens_classif.errors import require
from sae_lens_classif.wording import (
    bare_number,
    class_of_concept,
    markdown_row,
    markdown_text,
    number,
    points,
    twins_of_concept,
)

require("report", "jinja2", "markupsafe")
from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape  # noqa: E402  (refused above in words)


@cache
def template(name: str) -> Template:
    """A template of the package, with ways of writing numbers as filters.

    Args:
        name: Its file.
    """
    loader, autoescape = PackageLoader("sae_lens_classif"), select_autoescape(["html"])
    environment = Environment(
        loader=loader, autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        count=lambda value: f"{value:,}",
        percent=lambda value: number(value, True),
        bare_percent=lambda value: bare_number(value, True),
        decimal=lambda value: number(value, False),
        points=points,
        text=markdown_text,
        row=markdown_row,
        class_of_concept=class_of_concept,
        twins_of_concept=twins_of_concept,
        bar_width=lambda share: f"{50 * abs(share):.1f}%",
    )
    return environment.get_template(name)
