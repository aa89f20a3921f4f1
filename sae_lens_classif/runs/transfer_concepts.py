"""Which concepts keep their meaning and their effect on the texts of another data set."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from sae_lens_classif.evals.base import Exact
from sae_lens_classif.evals.measures import Cosine, Count, Share
from sae_lens_classif.evals.results import Measures
from sae_lens_classif.wording import bare_number, markdown_row, markdown_text

N_WORDS = 10
_HEADINGS = (
    "concept", "fires on, %", "there", "ConceptSim", "there", "effect (TVD), %", "there", "raises", "there",
    "same words, %", "words", "there",
)  # fmt: skip


class ConceptElsewhere(Exact):
    """One concept on the test texts of two data sets, its own first.

    Attributes:
        index: Its number.
        activation_rate: Share of the texts on which it fires.
        concept_sim: Mean cosine of its activating texts; None where there are not two.
        effect: Mean shift of the class probabilities without it, where it is active; None where it never is.
        raises: The class that it raises most; None where it is never active, or lowers every label.
        key_words: The ten words that set its texts apart.
        same_words: Jaccard of these words; None where one has none.
    """

    index: Count
    activation_rate: tuple[Share, Share]
    concept_sim: tuple[Cosine | None, Cosine | None]
    effect: tuple[Share | None, Share | None]
    raises: tuple[str | None, str | None]
    key_words: tuple[list[str], list[str]]
    same_words: Share | None


class ConceptsElsewhere(Exact):
    """All concepts of a method on two data sets.

    Attributes:
        source: Name of the data set that the concepts were learned on.
        target: Name of the other.
        concepts: One each, in their order.
        n_texts: Test texts of both.
    """

    source: str
    target: str
    concepts: list[ConceptElsewhere]
    n_texts: tuple[Count, Count]


def concepts_elsewhere(
    source: Mapping[str, Measures], target: Mapping[str, Measures], class_names: Sequence[str]
) -> list[ConceptElsewhere]:
    """Put each concept's own numbers on two data sets beside each other; none where nothing could be measured.

    Args:
        source: What the evaluations found on the concepts' own data set.
        target: On the other.
        class_names: The classifier's.
    """
    both = [of.get("completeness") for of in (source, target)]
    if None in both:
        return []
    sides = [list(_on(of, class_names)) for of in (source, target)]
    return [_beside(index, *pair) for index, pair in enumerate(zip(*sides, strict=True))]


def _on(measures: Mapping[str, Measures], class_names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Each concept's numbers on one data set."""
    rates = measures["completeness"].details["activation_rate"]
    effects = measures["causality"].details["concepts"]
    meaning = measures["interpretability"].details
    for index, rate in enumerate(rates):
        raises = effects[index]["raises"]
        yield {
            "activation_rate": rate,
            "concept_sim": meaning["concept_sim"][index],
            "effect": effects[index]["tvd"] if rate else None,
            "raises": None if raises is None else class_names[raises],
            "key_words": list(meaning["key_words"][index])[:N_WORDS],
        }


def _beside(index: int, source: Mapping[str, Any], target: Mapping[str, Any]) -> ConceptElsewhere:
    one, other = set(source["key_words"]), set(target["key_words"])
    same = len(one & other) / len(one | other) if one and other else None
    return ConceptElsewhere(index=index, same_words=same, **{name: (source[name], target[name]) for name in source})


def in_a_sentence(found: ConceptsElsewhere) -> str:
    """How many concepts fire on both, do the same there, and have words in common."""
    known = [one for one in found.concepts if one.activation_rate[0]]
    both = [one for one in known if one.activation_rate[1]]
    same = sum(one.raises[0] == one.raises[1] for one in both)
    overlaps = [one.same_words for one in both if one.same_words is not None]
    words = (
        "" if not overlaps else f"; half of them share at least {bare_number(median(overlaps), True)} % of their words"
    )
    return (
        f"Of the {len(known)} concepts that fire on the test texts of {found.source}, {len(both)} fire on those of "
        f"{found.target}; {same} of these raise the same class there{words}."
    )


def to_markdown(found: ConceptsElsewhere) -> str:
    """The sentence, and a row a concept."""
    lines = [markdown_text(in_a_sentence(found)), "", markdown_row(_HEADINGS)]
    lines.append("|---:" * 7 + "|---|---|---:|---|---|")
    lines += [markdown_row(list(_cells(one))) for one in found.concepts]
    lines += [
        "",
        f"*There*: on the {found.n_texts[1]:,} test texts of {markdown_text(found.target)}; else on the "
        f"{found.n_texts[0]:,} of {markdown_text(found.source)}. *Effect*: shift of the class probabilities without "
        f"it, where it is active. *Same words*: of the {N_WORDS} that set its texts apart, Jaccard.",
    ]
    return "\n".join(lines) + "\n"


def _cells(one: ConceptElsewhere) -> Iterator[str]:
    yield str(one.index)
    for pair, in_percent in ((one.activation_rate, True), (one.concept_sim, False), (one.effect, True)):
        yield from (bare_number(value, in_percent) for value in pair)
    yield from (markdown_text(name or "–") for name in one.raises)
    yield bare_number(one.same_words, True)
    yield from (markdown_text(", ".join(words)) for words in one.key_words)
