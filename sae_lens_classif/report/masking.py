"""Who wrote a text, and where it leads, taken out of what a page shows."""

import re
from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any

from sae_lens_classif.evals.slices import words_in
from sae_lens_classif.explaining.explanation import Explanation

_HANDLE = re.compile(r"(?<!\w)@\w[\w.-]*(?:@[\w.-]+)*\b")
_LINK = re.compile(r"(?:https?://|www\.)\S+|\b[\w-]+(?:\.[\w-]+)+/\S*", re.IGNORECASE)


def masked(text: str) -> str:
    """A text with ``@…`` in the place of each handle and ``[link]`` in that of each address on the web."""
    return _HANDLE.sub("@…", _LINK.sub("[link]", text))


def masked_concept(concept: Mapping[str, Any], visible: Set[str], given: str = "") -> dict[str, Any]:
    """An entry of ``summary.json`` whose key words, and phrases of whose name, are words that masked texts still have.

    Args:
        concept: The entry.
        visible: Those words, folded.
        given: The name that a user gave it, which stays as it is; empty where there is none.
    """
    name = given or ", ".join(part for part in concept.get("name", "").split(", ") if words_in(part) <= visible)
    return {**concept, "key_words": [word for word in concept["key_words"] if words_in(word) <= visible], "name": name}


def masked_explanation(explanation: Explanation) -> Explanation:
    """The explanation of a text, whose words are masked."""
    return replace(explanation, text=masked(explanation.text), words=tuple(map(masked, explanation.words)))
