"""Pages from templates. Everything from texts is escaped."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from sae_lens_classif.wording import number, points


@cache
def template(name: str) -> Template:
    """A template of the package, with ``percent``, ``decimal`` and ``points`` as filters.

    Args:
        name: Its file.
    """
    environment = Environment(
        loader=PackageLoader("sae_lens_classif"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.do"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=lambda value: number(value, True), decimal=lambda value: number(value, False), points=points
    )
    return environment.get_template(name)
