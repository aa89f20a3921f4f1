"""Who wrote a text, and where it leads, taken out of what a page shows."""

import re
from dataclasses import replace

from sae_lens_classif.explaining.explanation import Explanation

_HANDLE = re.compile(r"(?<!\w)@\w+")
_LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)


def masked(text: str) -> str:
    """A text with ``@…`` in the place of each handle and ``[link]`` in that of each address on the web."""
    return _HANDLE.sub("@…", _LINK.sub("[link]", text))


def masked_explanation(explanation: Explanation) -> Explanation:
    """The explanation of a text, whose words are masked."""
    return replace(explanation, text=masked(explanation.text), words=tuple(map(masked, explanation.words)))
