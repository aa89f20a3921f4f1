"""A concept as an audit shows it: what it is about, and what it does in its own run."""

from collections.abc import Mapping
from typing import Any, Self

from sae_lens_classif.evals.base import Exact
from sae_lens_classif.evals.measures import Count, Share

_N_WORDS = 6


class DescribedConcept(Exact):
    """A concept in its own run.

    Attributes:
        index: Its number.
        class_name: Class whose probability it raises most, as in the run's ``summary.json``.
        active_class_name: Class on whose texts it is most active.
        key_words: Words that set its texts apart.
        activation_rate: Share of its run's test texts on which it fires.
        influence: Mean shift of the class probabilities over its run's test texts when it is removed.
        name: One that a user gave, else phrases of its texts; may be empty.
    """

    index: Count
    class_name: str
    active_class_name: str
    key_words: list[str]
    activation_rate: Share
    influence: Share | None
    name: str = ""

    @property
    def called(self) -> str:
        """How tables call it: its name, or where it has none the first of its key words."""
        return self.name or ", ".join(self.key_words[:_N_WORDS])

    @classmethod
    def of(cls, concept: Mapping[str, Any], **more: Any) -> Self:
        """A concept of ``summary.json``.

        Args:
            concept: Its entry.
            **more: What a subclass adds.
        """
        return cls(**{name: concept[name] for name in DescribedConcept.model_fields if name in concept}, **more)
