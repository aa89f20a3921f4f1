"""``diff``: which concepts of one classifier are kept, gone, new or changed in effect in another."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from sae_lens_classif.audit.described import DescribedConcept
from sae_lens_classif.checksums import sha256_of_json, write_json
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.base import Exact, activations_of
from sae_lens_classif.evals.evaluate import check_belong_together
from sae_lens_classif.evals.matching import By, ConceptSet, Matching, match
from sae_lens_classif.evals.measures import Cosine, Count, Share
from sae_lens_classif.files import write_text
from sae_lens_classif.runs.folder import METHOD, RunFolder, opened_to_write
from sae_lens_classif.runs.results import read_summary
from sae_lens_classif.runs.run_method import RunMethod, current_entry, load_fitted
from sae_lens_classif.runs.steps import TestSplit
from sae_lens_classif.runs.transfer import folder_elsewhere, without_labels
from sae_lens_classif.store.caching import cache_states
from sae_lens_classif.store.store import ActivationStore
from sae_lens_classif.wording import bare_number, class_of_concept, markdown_row, markdown_text, number

Change = Literal["class", "influence"]
_SAME_SPACE = 0.5  # mean cosine of two models' states of the same texts, at least
_FACTOR = 2.0  # by which an influence has changed


class Kept(Exact):
    """A concept of the first run that is in the second, too.

    Attributes:
        a: The concept in the first run.
        b: The one of the second that it is matched with.
        cosine: Of their directions; None where these cannot be compared.
        jaccard: Overlap of their activating texts.
        changed: What has changed in its effect: its ``class``, or its ``influence``, at least twice or at most half.
    """

    a: DescribedConcept
    b: DescribedConcept
    cosine: Cosine | None
    jaccard: Share
    changed: list[Change]


class Alone(Exact):
    """A concept of one run that is not in the other.

    Attributes:
        concept: The concept.
        nearest: Number of the concept of the other run that is most like it.
        cosine: Of their directions; None where these cannot be compared.
        jaccard: Overlap of their activating texts.
    """

    concept: DescribedConcept
    nearest: Count
    cosine: Cosine | None
    jaccard: Share


class Diff(Exact):
    """``diff.json``: the concepts of two runs beside each other; each list has the most influential first.

    Attributes:
        run_a: Name of the first run.
        run_b: Name of the second.
        method: Name of the method whose concepts are compared.
        n_texts: Number of texts that both classifiers read: the first run's test texts.
        matched_by: What must be alike: ``both`` (direction and texts), or ``texts``.
        states_cosine: Mean cosine of the two models' states of the same text, each less their mean; None where they
            have another width. Directions are compared from 0.5 on.
        kept: Concepts that are in both.
        gone: Those of the first run that are not in the second.
        new: Those of the second run that are not in the first.
        kept_influence_a: Share of the influence of the first run's concepts that is kept; None where that was not
            measured.
        kept_influence_b: The same of the second run's.
        classes_gone: Names of classes that only the first run has.
        classes_new: Names of classes that only the second run has.
        settings_sha256: Of everything that it depends on.
    """

    run_a: str
    run_b: str
    method: str
    n_texts: Count
    matched_by: By
    states_cosine: Cosine | None
    kept: list[Kept]
    gone: list[Alone]
    new: list[Alone]
    kept_influence_a: Share | None
    kept_influence_b: Share | None
    classes_gone: list[str]
    classes_new: list[str]
    settings_sha256: str


@dataclass(frozen=True)
class _Measured:
    """A run with what was measured of its concepts."""

    run: RunFolder
    of: RunMethod
    split: TestSplit
    entry: Mapping[str, Any]

    @classmethod
    def open(cls, run: str | Path | RunFolder, method: str, allow_code: str | Iterable[str]) -> "_Measured":
        files = run if isinstance(run, RunFolder) else RunFolder.open(run, allow_code=allow_code)
        of, split = load_fitted(files, method), TestSplit(files)
        entry = current_entry(files, of, split.store, read_summary(files))
        if not entry["concepts"]:
            raise UserError(f"no concept of {of.title} is active on any test text of {files.folder}: none to compare")
        return cls(files, of, split, entry)

    @property
    def concepts(self) -> Mapping[int, Mapping[str, Any]]:
        """Those that are active on some text, by number, the most influential first."""
        return {concept["index"]: concept for concept in self.entry["concepts"]}


def diff(
    run_a: str | Path | RunFolder,
    run_b: str | Path | RunFolder,
    method: str = METHOD,
    *,
    allow_code: str | Iterable[str] = (),
) -> Diff:
    """Hold the concepts of two classifiers against each other: fine-tuned again, of another base model, on other data.

    Concepts are matched on the first run's test texts, which both classifiers read. Directions count where the two
    models' states of the same texts point alike; else, and where states have another width, texts decide alone.
    Makes ``RUN_B/diff/<name of the first run>/diff.{json,md}``, and, where the second run has other test texts, the
    hidden states of the first run's in ``RUN_B/transfer``.

    Args:
        run_a: The first run folder, trained and evaluated.
        run_b: The second.
        method: Whose concepts: the runs' ClassifSAEs, or a method that ``compare`` fitted in both.
        allow_code: A name of code that the runs' settings may name, ``module:attribute``, or several; a ``RunFolder``
            says so itself.

    Raises:
        UserError: If they are one and the same run, one is not trained and evaluated as it stands now, or the texts
            cannot be read.
    """
    folders = [run.folder if isinstance(run, RunFolder) else Path(run) for run in (run_a, run_b)]
    if folders[0].resolve() == folders[1].resolve():
        raise UserError(f"{folders[0]} is given twice; give two runs")
    with opened_to_write(run_b, "diff", allow_code=allow_code) as files_b:
        a, b = (_Measured.open(run, method, allow_code) for run in (run_a, files_b))
        result = _held_against(a, b)
        file = "diff" if a.of.name == METHOD else f"diff.{a.of.name}"
        folder = _folder(a.run, b.run)
        write_json(folder / f"{file}.json", result.model_dump(mode="json"))
        write_text(folder / f"{file}.md", to_markdown(result))
    return result


def _held_against(a: _Measured, b: _Measured) -> Diff:
    store = _states_of_the_same_texts(a, b)
    states = [of.read("hidden").float() for of in (a.split.store, store)]
    alike = _states_cosine(*states)
    own, other = (_concepts(side, hidden, alike) for side, hidden in zip((a, b), states, strict=True))
    by: By = "texts" if own.directions is None or other.directions is None else "both"
    return _result(a, b, match(own, other, by), match(other, own, by), by, alike)


def _folder(a: RunFolder, b: RunFolder) -> Path:
    """Where the result lies; two runs of one name in different folders do not take each other's place."""
    place = a.folder.resolve()
    name = re.sub(r"[^\w.-]+", "_", place.name)
    return b.folder / "diff" / f"{name}-{sha256_of_json(str(place))[:8]}"


def _states_of_the_same_texts(a: _Measured, b: _Measured) -> ActivationStore:
    """The states of the first run's test texts in the second run's model; made, if they are not there yet."""
    wanted = a.split.store.fingerprints.data
    if b.split.store.fingerprints.data == wanted:
        b.split.store.verify()
        return b.split.store
    texts = a.split.data
    if texts.fingerprint() != wanted:
        raise UserError(
            f"the test texts of {a.run.cfg.data.source} are not those from which {a.split.store.folder} was made; run "
            "`cache` again"
        )
    classifier = b.split.classifier
    check_belong_together(b.of.method.autoencoder(), classifier, b.split.store, b.split.data)
    folder = folder_elsewhere(b.run, a.run.cfg.data.source, texts)
    return cache_states(classifier, without_labels(texts, classifier), folder / "activations", b.run.cfg.cache)


def _states_cosine(some: torch.Tensor, others: torch.Tensor) -> float | None:
    """Mean cosine of two models' states, float (N, d) each, of the same texts, each less their mean."""
    if some.shape != others.shape:
        return None
    ours, theirs = (states.double() - states.double().mean(dim=0) for states in (some, others))
    return float(torch.nn.functional.cosine_similarity(ours, theirs, dim=1).mean())


def _concepts(side: _Measured, hidden: torch.Tensor, alike: float | None) -> ConceptSet:
    directions = side.of.method.directions() if alike is not None and alike >= _SAME_SPACE else None
    return ConceptSet.of(activations_of(side.of.method, hidden), directions)


def _result(a: _Measured, b: _Measured, forth: Matching, back: Matching, by: By, alike: float | None) -> Diff:
    # A concept that no text of its own run activates is in no list, even where one of the other run's texts does.
    pairs = {
        index: partner
        for index, partner in enumerate(forth.partner.tolist())
        if index in a.concepts and partner in b.concepts
    }
    names_a, names_b = a.split.store.class_names, b.split.store.class_names
    return Diff(
        run_a=_name(a.run),
        run_b=_name(b.run),
        method=a.of.name,
        n_texts=len(a.split.store),
        matched_by=by,
        states_cosine=alike,
        kept=[_kept(a, b, forth, index, pairs[index]) for index in a.concepts if index in pairs],
        gone=[_alone(a, forth, index) for index in a.concepts if index not in pairs],
        new=[_alone(b, back, index) for index in b.concepts if index not in pairs.values()],
        kept_influence_a=_share_of_influence(a, set(pairs)),
        kept_influence_b=_share_of_influence(b, set(pairs.values())),
        classes_gone=[name for name in names_a if name not in names_b],
        classes_new=[name for name in names_b if name not in names_a],
        settings_sha256=sha256_of_json([side.entry["settings_sha256"] for side in (a, b)]),
    )


def _name(run: RunFolder) -> str:
    return run.folder.resolve().name


def _cosine(matching: Matching, index: int, other: int) -> float | None:
    return None if matching.cosine is None else float(matching.cosine[index, other])


def _kept(a: _Measured, b: _Measured, matching: Matching, index: int, partner: int) -> Kept:
    before, after = DescribedConcept.of(a.concepts[index]), DescribedConcept.of(b.concepts[partner])
    changed: list[Change] = []
    if before.class_name != after.class_name:
        changed.append("class")
    if before.influence is not None and after.influence is not None:
        low, high = sorted((before.influence, after.influence))
        if high > 0 and high >= _FACTOR * low:
            changed.append("influence")
    cosine, overlap = _cosine(matching, index, partner), float(matching.jaccard[index, partner])
    return Kept(a=before, b=after, cosine=cosine, jaccard=overlap, changed=changed)


def _alone(of: _Measured, matching: Matching, index: int) -> Alone:
    nearest = int(matching.nearest[index])
    cosine, overlap = _cosine(matching, index, nearest), float(matching.jaccard[index, nearest])
    return Alone(concept=DescribedConcept.of(of.concepts[index]), nearest=nearest, cosine=cosine, jaccard=overlap)


def _share_of_influence(of: _Measured, kept: set[int]) -> float | None:
    influences = {index: concept["influence"] or 0.0 for index, concept in of.concepts.items()}
    total = sum(influences.values())
    return sum(influences[index] for index in kept) / total if total > 0 else None


def about(result: Diff) -> str:
    """What was compared, and how, in sentences."""
    how = {
        "both": "direction (cosine at least 0.7) and activating texts (Jaccard at least 0.5)",
        "texts": "activating texts alone (Jaccard at least 0.5)",
    }[result.matched_by]
    why = ""
    if result.states_cosine is None:
        why = ", since the two models' states have different widths"
    elif result.matched_by == "texts" and result.states_cosine < _SAME_SPACE:
        alike = f"mean cosine {result.states_cosine:.2f}"
        why = f", since the two models' states of the same texts do not point alike ({alike})"
    classes = [
        f" Classes of {run} alone: {', '.join(names)}."
        for run, names in ((result.run_a, result.classes_gone), (result.run_b, result.classes_new))
        if names
    ]
    share_a, share_b = (number(share, True) for share in (result.kept_influence_a, result.kept_influence_b))
    n_changed = sum(bool(pair.changed) for pair in result.kept)
    return (
        f"{len(result.kept)} concepts are kept, {n_changed} of them changed in effect; {len(result.gone)} are gone, "
        f"{len(result.new)} are new. Of the influence of {result.run_a}'s concepts {share_a} is kept, of "
        f"{result.run_b}'s {share_b}. Matched on the {result.n_texts:,} test texts of {result.run_a} by {how}{why}. "
        f"Influence is over each run's own test texts.{''.join(classes)}"
    )


def kept_rows(result: Diff) -> list[tuple[str, ...]]:
    """A row a kept concept: its numbers in both runs, class, name, influences in percent, likeness, what changed."""
    return [
        (
            f"{pair.a.index} → {pair.b.index}",
            _arrow(*(class_of_concept(side.model_dump()) for side in (pair.a, pair.b))),
            _arrow(pair.a.called, pair.b.called),
            bare_number(pair.a.influence, True),
            bare_number(pair.b.influence, True),
            bare_number(pair.cosine, False),
            bare_number(pair.jaccard, False),
            ", ".join(pair.changed),
        )
        for pair in result.kept
    ]


def alone_rows(alone: Sequence[Alone]) -> list[tuple[str, ...]]:
    """A row a concept that one run alone has: number, class, name, influence in percent, what it is nearest to."""
    return [
        (
            str(entry.concept.index),
            class_of_concept(entry.concept.model_dump()),
            entry.concept.called,
            bare_number(entry.concept.influence, True),
            str(entry.nearest),
            bare_number(entry.cosine, False),
            bare_number(entry.jaccard, False),
        )
        for entry in alone
    ]


def _arrow(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def headings(result: Diff) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of ``kept_rows`` and of ``alone_rows``."""
    of_a, of_b = (f"influence in {run}, %" for run in (result.run_a, result.run_b))
    likeness = ("cosine", "Jaccard")
    return (
        ("Concept", "Class", "Name", of_a, of_b, *likeness, "changed"),
        ("Concept", "Class", "Name", "influence, %", "nearest", *likeness),
    )


def to_markdown(result: Diff) -> str:
    """What was compared, then the concepts that are kept, gone and new."""
    of_kept, of_alone = headings(result)
    parts = (
        ("Kept", of_kept, kept_rows(result)),
        (f"Gone: in {result.run_a} alone", of_alone, alone_rows(result.gone)),
        (f"New: in {result.run_b} alone", of_alone, alone_rows(result.new)),
    )
    lines = [f"# {markdown_text(result.run_a)} and {markdown_text(result.run_b)}", "", markdown_text(about(result))]
    for title, head, rows in parts:
        lines += ["", f"## {markdown_text(title)}", ""]
        table = [head, ("---",) * len(head), *(tuple(map(markdown_text, row)) for row in rows)]
        lines += map(markdown_row, table) if rows else ["None."]
    return "\n".join(lines) + "\n"
