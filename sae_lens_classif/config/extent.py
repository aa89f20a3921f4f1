"""How much a YAML text holds, found out before any value is made: some lines can name more than a machine holds."""

import math
from dataclasses import dataclass

import yaml

_MOST_VALUES, _DEEPEST = 100_000, 50  # more than any settings need


class TooMuch(yaml.YAMLError):
    """More than any settings hold."""


@dataclass
class _Extent:
    """Values in a value, itself included, and how many of them are in one another."""

    anchor: str | None = None
    n_values: float = 1
    depth: float = 1

    def take(self, other: "_Extent") -> None:
        self.n_values += other.n_values
        self.depth = max(self.depth, 1 + other.depth)


def check_extent(text: str) -> None:
    """Refuse a text that holds more than any settings.

    Args:
        text: YAML. What an alias stands for counts wherever it stands.

    Raises:
        TooMuch: If it does.
        yaml.YAMLError: If it is no YAML.
    """
    known: dict[str | None, _Extent] = {}
    opened = [_Extent()]  # from outside to inside, what is not closed yet
    # Half a character is not YAML's, and is told of where the setting is checked.
    for event in yaml.parse(text.encode(errors="replace"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append(_Extent(event.anchor))
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = opened.pop()
            opened[-1].take(closed)
            known[closed.anchor] = closed
        elif isinstance(event, yaml.AliasEvent):  # of one that holds itself there is no end
            opened[-1].take(known.get(event.anchor, _Extent(None, math.inf, math.inf)))
        elif isinstance(event, yaml.ScalarEvent):
            opened[-1].take(_Extent())
            known[event.anchor] = _Extent()
        if max(len(opened), opened[-1].depth) > _DEEPEST:
            raise TooMuch(f"nested deeper than {_DEEPEST}")
        if opened[-1].n_values > _MOST_VALUES:
            raise TooMuch(f"more than {_MOST_VALUES:,} values")
