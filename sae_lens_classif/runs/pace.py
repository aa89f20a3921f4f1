"""How long like pieces of work take: after each that was done is said about how long the others will."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sae_lens_classif.wording import about_duration

logger = logging.getLogger(__name__)
_WORTH_SAYING = 10.0  # seconds


class Pace:
    """Times pieces of work, such as the fits of a comparison."""

    def __init__(self, n_pieces: int, what: str, n_done: int = 0) -> None:
        """
        Args:
            n_pieces: How many are to be made.
            what: What they are, in the plural.
            n_done: How many others are there already, and cost hardly anything.
        """
        self._n_pieces, self._what, self._seconds = n_pieces, what, list[float]()
        there = f", beside {n_done} that are there already" if n_done else ""
        if n_pieces > 1:
            logger.info("%d %s to make%s", n_pieces, what, there)

    @contextmanager
    def piece(self, counts: bool = True) -> Iterator[None]:
        """Times what is done within; nothing is said where it failed.

        Args:
            counts: Whether it is one of those that are to be made.
        """
        start = time.monotonic()
        yield
        if counts:
            self._seconds.append(time.monotonic() - start)
            self._say()

    def _say(self) -> None:
        n_done = len(self._seconds)
        n_left, mean = self._n_pieces - n_done, sum(self._seconds) / n_done
        if n_left > 0 and n_left * mean >= _WORTH_SAYING:
            logger.info(
                "%d of %d %s made; about %s more, if the others take as long (%s each)",
                n_done, self._n_pieces, self._what, about_duration(n_left * mean), about_duration(mean),
            )  # fmt: skip
