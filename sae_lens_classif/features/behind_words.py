"""The features behind a class as Markdown."""

import unicodedata
from collections.abc import Iterator

from sae_lens_classif.features.behind import Behind, Feature, Weight
from sae_lens_classif.wording import markdown_text, number

_N_TOKENS = 8
WEIGHTS = {
    "logistic": "coefficient of a logistic regression on scaled features",
    "prototype": "mean on the class's training texts less that on all others, of texts of length 1",
    "tree": "importance in a decision tree, each feature with the class on which its mean is most above the others'",
}


def behind_in_markdown(behind: Behind) -> str:
    """A list a class: each feature with how often it is active, and the tokens on which it is most."""
    lines = [
        "## The features behind each class",
        "",
        f"What speaks most for each class in the approach that is best, fitted on all training texts: "
        f"{WEIGHTS[behind.classifier]}, the largest first; on which training texts it is active; the tokens on which "
        "it is most. `behind.json` and `report.html` show the texts.",
    ]
    for one in behind.classes:
        lines += ["", f"What tells **{_plain(one.class_name)}** apart:", ""]
        lines += [_line(weight, behind.features[weight.feature]) for weight in one.weights] or ["- no feature"]
    return "\n".join(lines) + "\n"


def _line(weight: Weight, feature: Feature) -> str:
    named = f"feature {feature.index}"
    named = f"[{named}]({feature.link})" if feature.link else named
    named += f" ({_plain(feature.name)})" if feature.name else ""
    tokens = ", ".join(_tokens(feature)) or "no token that can be written"
    rates = f"{number(weight.rate_in_class, True)} of its texts, {number(weight.rate_elsewhere, True)} of the others"
    return f"- {named}, {weight.weight:.3f}, {rates}: {tokens}"


def _tokens(feature: Feature) -> Iterator[str]:
    for token in feature.tokens[:_N_TOKENS]:
        if plain := _plain(token):
            yield plain


def _plain(text: str) -> str:
    """In one line, without marks, markup, and characters that turn what follows them around."""
    return markdown_text(
        "".join(char for char in text if unicodedata.category(char) not in ("Cc", "Cf") or char.isspace())
    )
