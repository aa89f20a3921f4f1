"""Where a model errs more often: parts of the texts by their length, by a column of the data, by a word in them."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy.stats import fisher_exact

from sae_lens_classif.evals.classifier_scores import share_ci95
from sae_lens_classif.evals.significance import ALPHA, holm

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
LEAST_TEXTS = 10  # that hold a word, for it to be told how they are decided
_N_LENGTHS = 4


@dataclass(frozen=True)
class Slice:
    """A part of the texts.

    Attributes:
        name: What they have in common.
        n_texts: How many.
        n_wrong: How many of them are decided wrongly.
        accuracy: Share that is decided rightly.
        accuracy_ci95: Its 95 % interval.
        differs: Whether the accuracy is another than that of all other texts: Fisher's exact test, corrected by Holm
            over the slices of one kind.
    """

    name: str
    n_texts: int
    n_wrong: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    differs: bool


def slices(members: Mapping[str, torch.Tensor], is_right: torch.Tensor) -> tuple[Slice, ...]:
    """Parts of the texts, in the order given; those without a text are left out.

    Args:
        members: For each name bool (N,), which texts are of the part.
        is_right: bool (N,), which texts are decided rightly.
    """
    counts = {name: (int(own.sum()), int((own & ~is_right).sum())) for name, own in members.items() if own.any()}
    n_texts, n_wrong = len(is_right), int((~is_right).sum())
    differ = differences(
        [(wrong, n - wrong, n_wrong - wrong, n_texts - n - n_wrong + wrong) for n, wrong in counts.values()]
    )
    return tuple(
        Slice(name, n, wrong, 1 - wrong / n, share_ci95(n - wrong, n), differs)
        for (name, (n, wrong)), differs in zip(counts.items(), differ, strict=True)
    )


def differences(tables: Sequence[tuple[int, int, int, int]]) -> list[bool]:
    """Which of some 2 x 2 tables of counts say more than chance, Fisher's exact test, corrected by Holm.

    Args:
        tables: Of each question ``a, b, c, d``: do a of a + b and c of c + d differ?
    """
    p_values = [float(fisher_exact([[a, b], [c, d]])[1]) for a, b, c, d in tables]
    return [corrected <= ALPHA for corrected in holm(p_values)]


def by_length(texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """Texts in four parts of about equal size, by their number of words; fewer where many are of one length.

    Args:
        texts: The N texts.

    Returns:
        For each part its name and bool (N,), shortest first.
    """
    lengths = torch.tensor([len(text.split()) for text in texts])
    quantiles = torch.arange(1, _N_LENGTHS, dtype=torch.float64) / _N_LENGTHS
    edges = sorted({int(edge) for edge in lengths.double().quantile(quantiles).ceil().tolist()})
    part_of = torch.bucketize(lengths, torch.tensor(edges))
    found = {}
    for number in part_of.unique().tolist():
        own = part_of == number
        least, most = int(lengths[own].min()), int(lengths[own].max())
        found[f"{least} words" if least == most else f"{least} to {most} words"] = own
    return found


def by_value(values: Sequence[object], most: int = 20) -> dict[str, torch.Tensor]:
    """Texts by their value in a column: the most frequent ones, the others together.

    Args:
        values: Of each of the N texts.
        most: How many parts at most.
    """
    named = ["(none)" if value is None else str(value) for value in values]
    frequent = [name for name, _ in Counter(named).most_common()]
    kept = frequent if len(frequent) <= most else frequent[: most - 1]
    found = {name: torch.tensor([own == name for own in named]) for name in kept}
    rest = torch.tensor([own not in found for own in named])
    return {**found, f"{len(frequent) - len(kept)} others": rest} if len(kept) < len(frequent) else found


@dataclass(frozen=True)
class WordCounts:
    """Texts that hold a word.

    Attributes:
        n_texts: How many.
        n_wrong: How many of them are decided wrongly.
        n_decided: How many get each class, or label, by its number; those that none gets are left out.
    """

    n_texts: int
    n_wrong: int
    n_decided: Mapping[int, int]


def fold(text: str) -> str:
    """A text without case and accents, as the search of a report compares it."""
    letters = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in letters if not unicodedata.category(letter).startswith("M")).lower()


def words_in(text: str) -> set[str]:
    """The different words of a text, folded."""
    return set(_WORD.findall(fold(text)))


def words_of_texts(
    texts: Sequence[str], decided: Sequence[Sequence[int]], is_right: torch.Tensor, least: int = LEAST_TEXTS
) -> dict[str, WordCounts]:
    """Of the words that are not rare, how the texts that hold them are decided; neither case nor accents count.

    Args:
        texts: The N texts.
        decided: Of each text its class, or its labels.
        is_right: bool (N,), which texts are decided rightly.
        least: In how many texts a word must be.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(texts):
        for word in words_in(text):
            rows[word].append(row)
    right = is_right.tolist()
    ordered = sorted(rows, key=lambda word: (-len(rows[word]), word))
    return {
        word: WordCounts(
            n_texts=len(own := rows[word]),
            n_wrong=sum(not right[row] for row in own),
            n_decided=dict(sorted(Counter(number for row in own for number in decided[row]).items())),
        )
        for word in ordered
        if len(rows[word]) >= least
    }
