"""One text explained, as HTML: for notebooks and for the report. Everything from texts is escaped."""

from collections.abc import Iterator
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from sae_lens_classif.explaining import ActiveConcept, Explanation
from sae_lens_classif.wording import number, points

_PALEST = 0.08  # a word that drives less is left white
_STRONGEST = 0.6  # opacity of the strongest, on which black and white letters can both be read


def to_html(explanation: Explanation) -> str:
    """A fragment of a page with its own styles; it needs no script and no network.

    Args:
        explanation: What is shown.
    """
    return _template("explanation.html").render(
        explanation=explanation,
        predicted=explanation.class_names[explanation.predicted],
        percent=lambda value: number(value, True),
        points=points,
        shades=_shades,
    )


def to_page(explanation: Explanation) -> str:
    """The same as a whole page.

    Args:
        explanation: What is shown.
    """
    fragment = Markup(to_html(explanation))  # escaped already
    return _template("explanation_page.html").render(fragment=fragment)


@cache
def _template(name: str) -> Template:
    loader = PackageLoader("sae_lens_classif")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(name)


def _shades(explanation: Explanation, concept: ActiveConcept) -> Iterator[tuple[str, float]]:
    """Each word and how strongly it is shaded, -0.6..0.6; 0 for hardly any effect."""
    largest = max(map(abs, concept.words), default=0.0) or 1.0
    for word, driven in zip(explanation.words, concept.words, strict=True):
        share = _STRONGEST * driven / largest
        yield word, share if abs(share) >= _PALEST else 0.0
