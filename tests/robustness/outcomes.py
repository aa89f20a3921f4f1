"""How trials went: a table by what was tried, and a line for each that failed."""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from textwrap import shorten

from tests.robustness.forking import Ended

_LONGEST = 600  # characters of what happened


def fault_of(ended: Ended) -> str | None:
    """What no command may ever do, whatever lies in its way; None where it did none of it."""
    if ended.code is None:
        return "hang"
    if "Traceback (most recent call last)" in ended.stderr:
        return "traceback"
    if ended.code < 0:
        return f"signal {-ended.code}"
    if ended.code not in (0, 2):
        return f"exit {ended.code}"
    if ended.code == 2 and not ended.last_line.startswith("error: "):
        return "exit 2 without words"
    return None


@dataclass
class Outcomes:
    """What was tried, and how it ended.

    Attributes:
        failures: A line each.
    """

    title: str
    failures: list[str] = field(default_factory=list)
    _counts: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def passed(self, what: str, outcome: str) -> None:
        """Count a trial that ended as it should."""
        self._counts[what][outcome] += 1

    def failed(self, what: str, outcome: str, why: str, repeat: str) -> None:
        """Count one that did not, and say so at once.

        Args:
            what: Its row in the table.
            outcome: Its column.
            why: What happened.
            repeat: Options that try it again.
        """
        self._counts[what][f"FAILED: {outcome}"] += 1
        self.failures.append(f"{what}: {outcome}: {shorten(why, _LONGEST)} [{repeat}]")
        say(f"FAILED {self.failures[-1]}")

    @property
    def n_trials(self) -> int:
        """How many there were."""
        return sum(map(Counter.total, self._counts.values()))

    def table(self) -> str:
        """A row each thing that was tried, a column each outcome."""
        columns = sorted({outcome for counts in self._counts.values() for outcome in counts})
        rows = [[self.title, "trials", *columns]]
        rows += [
            [what, str(counts.total()), *(str(counts[column]) for column in columns)]
            for what, counts in self._counts.items()
        ]
        together = [sum(counts[column] for counts in self._counts.values()) for column in columns]
        rows.append(["together", str(self.n_trials), *map(str, together)])
        rows.insert(1, ["---", *["---:"] * (len(columns) + 1)])
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def finish(self) -> int:
        """Print the table and the failures; returns what the process ends with."""
        say("", self.table(), "")
        if self.failures:
            say(f"{len(self.failures)} of {self.n_trials} failed:", *self.failures)
        return int(bool(self.failures))


def say(*lines: str) -> None:
    """Print lines at once."""
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def some(lines: Iterable[str], n: int = 4) -> str:
    """The first few of many lines."""
    lines = list(lines)
    more = f" and {len(lines) - n} more" if len(lines) > n else ""
    return "; ".join(lines[:n]) + more
