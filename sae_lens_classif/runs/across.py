"""``across``: which concept method is ahead over several data sets, from the comparison that each run holds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sae_lens_classif.checksums import write_json
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.evals.comparison import REFERENCE, ComparedMethod, SeedResult, compare_results
from sae_lens_classif.evals.measures import Measure, columns, find_measure
from sae_lens_classif.evals.ranking import mean_ranks
from sae_lens_classif.evals.results import finite
from sae_lens_classif.figures.tradeoffs import Marks
from sae_lens_classif.files import check_output, write_text
from sae_lens_classif.runs.across_tables import titles, to_latex, to_markdown
from sae_lens_classif.runs.figures import TRADEOFFS, draw_tradeoffs, tradeoffs_of
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.results import (
    Across,
    DataSet,
    Score,
    read_measures,
    read_methods,
    settings_of_evaluations,
)
from sae_lens_classif.runs.tables import CONTROLS, competing
from sae_lens_classif.store.store import ActivationStore

_FILES = ("across.json", "across.md", "across.tex", "tradeoffs.png", "tradeoffs.svg")


def across(runs: Sequence[str | Path], out: str | Path = "runs/across", against: str = REFERENCE) -> Across:
    """Put the comparisons of several runs together, one a data set, and write ``across.{json,md,tex}`` and
    ``tradeoffs.{png,svg}``.

    A method that competes on every data set is ranked: it is no control, was measured, and recovers enough of the
    decisions. Ranks of a measure are over the data sets on which all of these have a number. A method is better or
    worse than the reference on a data set where both compete and the paired bootstrap, by Holm's correction over the
    methods of that comparison, tells them apart.

    Args:
        runs: Run folders with a finished ``compare``, one a data set.
        out: Folder to write to.
        against: Name of the method that the others are held against.

    Raises:
        UserError: If a folder has no comparison or one of another version, two are of the same data set, or the
            reference is missing in one.
    """
    if len(runs) < 2:
        raise UserError(f"{len(runs)} run folder was given; `across` needs two or more, each of another data set")
    opened = [RunFolder.open(run) for run in runs]
    for name in _FILES:
        check_output(Path(out) / name)
    _check_data(opened)
    compared = [read_methods(run) for run in opened]
    for run, one in zip(opened, compared, strict=True):
        _check_current(run, one.methods)
    _check_reference([set(one.methods) for one in compared], opened, against)
    data_sets = [
        _data_set(run, name, one.n_test_texts, _held_against(run, one.methods, against))
        for run, name, one in zip(opened, _names(opened), compared, strict=True)
    ]
    ranked, aside = _ranked(data_sets)
    scores = _scores(data_sets, ranked, against)
    found = Across(against=against, ranked=ranked, aside=aside, data_sets=data_sets, scores=scores)
    write_json(Path(out) / "across.json", finite(found.model_dump(mode="json")))
    write_text(Path(out) / "across.md", to_markdown(found))
    write_text(Path(out) / "across.tex", to_latex(found))
    draw_tradeoffs(Path(out), tradeoffs_of(_marks(found), "Small marks: data sets."))
    return found


def _check_data(runs: Sequence[RunFolder]) -> None:
    """Refuse two runs on the same data set, which would count twice."""
    seen: dict[object, RunFolder] = {}
    for run in runs:
        data = run.cfg.data
        source = str(Path(data.source).resolve()) if Path(data.source).exists() else data.source
        marks: list[object] = [
            (source, data.subset, data.test, data.text_column, data.text_pair_column, data.label_column)
        ]
        if run.activations("test").is_dir():
            marks.append(ActivationStore(run.activations("test")).fingerprints.data)
        for mark in marks:
            other = seen.setdefault(mark, run)
            if other is not run:
                raise UserError(
                    f"{other.folder} and {run.folder} are of the same data set ({data.source}), which would count "
                    "twice; give one run a data set"
                )


def _check_current(run: RunFolder, methods: Mapping[str, ComparedMethod]) -> None:
    """Refuse a comparison of other evaluations than the run holds; one of an earlier version says of none."""
    for row in methods.values():
        for seed, settings in zip(row.seeds, row.settings_sha256, strict=False):
            measured = settings_of_evaluations(_evaluations(run, row.name, seed))
            if settings and measured not in (None, settings):
                raise UserError(
                    f"{run.folder / 'comparison.json'} is of other settings or another fit of {row.name}, seed {seed}, "
                    f"than the run holds now; run `sae-lens-classif compare --run {run.folder}` again"
                )


def _evaluations(run: RunFolder, method: str, seed: int) -> Path:
    """Where `compare` keeps what it measured of a method with one seed."""
    return run.evaluations(method, None if method == METHOD and seed == run.cfg.train.seed else seed)


def _check_reference(methods: Sequence[set[str]], runs: Sequence[RunFolder], against: str) -> None:
    common = sorted(set.intersection(*methods))
    if len(common) < 2:
        raise UserError(
            "these comparisons have no two methods in common: "
            + "; ".join(f"{run.folder} has {', '.join(sorted(own))}" for run, own in zip(runs, methods, strict=True))
            + "; run `compare` with the same --compare.methods in each"
        )
    if against not in common:
        raise UserError(f"there is no {against!r} in every comparison; {nearest(against, common)} (--against)")


def _names(runs: Sequence[RunFolder]) -> list[str]:
    """Short names of the data sets; of those that would be called alike, their folders."""
    names = ["/".join(filter(None, (Path(run.cfg.data.source).name, run.cfg.data.subset))) for run in runs]
    count = Counter(names)
    return [name if count[name] == 1 else str(run.folder) for name, run in zip(names, runs, strict=True)]


def _held_against(run: RunFolder, methods: dict[str, ComparedMethod], against: str) -> dict[str, ComparedMethod]:
    """The rows with their differences from another reference than that of ``compare``."""
    if against == REFERENCE:
        return methods
    results = {name: _seed_results(run, row) for name, row in methods.items()}
    rows = compare_results(results, {name: row.title for name, row in methods.items()}, against)
    return {row.name: replace(methods[row.name], differences=row.differences) for row in rows}


def _seed_results(run: RunFolder, row: ComparedMethod) -> list[SeedResult]:
    """What was measured of a method, with the values over resampled texts."""
    results = []
    noted = row.settings_sha256 or ("",) * len(row.seeds)  # earlier versions did not note them
    for place, (seed, settings) in enumerate(zip(row.seeds, noted, strict=True)):
        folder = _evaluations(run, row.name, seed)
        result = SeedResult.of(seed, read_measures(folder, settings) if settings else {})
        for name, estimate in row.estimates.items():
            if estimate.by_seed[place] is not None and name not in result.metrics:
                raise UserError(
                    f"{folder} no longer holds the {name} that {run.folder / 'comparison.json'} was made from; run "
                    f"`sae-lens-classif compare --run {run.folder}` again"
                )
        results.append(result)
    return results


def _data_set(run: RunFolder, name: str, n_texts: int, methods: dict[str, ComparedMethod]) -> DataSet:
    measured = [row for row in methods.values() if any(one.mean is not None for one in row.estimates.values())]
    rivals = [row.name for row in competing(measured)]
    return DataSet(name=name, run=str(run.folder), n_test_texts=n_texts, competing=rivals, methods=methods)


def _ranked(data_sets: Sequence[DataSet]) -> tuple[list[str], dict[str, str]]:
    """Methods that compete on every data set, and why each of the others does not."""
    ranked, aside = [], {}
    (recovered,) = find_measure("scaled_recovery").limits
    for name in dict.fromkeys(name for data_set in data_sets for name in data_set.methods):
        missing = [one.name for one in data_sets if name not in one.methods]
        beaten = [one.name for one in data_sets if name in one.methods and name not in one.competing]
        reasons = [f"not compared on {', '.join(missing)}"] if missing else []
        if beaten:
            reasons.append(f"not measured, or {recovered.words('below {limit} scaled RAcc')}, on {', '.join(beaten)}")
        if name in CONTROLS:
            aside[name] = "a control"
        elif reasons:
            aside[name] = "; ".join(reasons)
        else:
            ranked.append(name)
    return ranked, aside


def _scores(data_sets: Sequence[DataSet], ranked: Sequence[str], against: str) -> dict[str, dict[str, Score]]:
    scores: dict[str, dict[str, Score]] = {name: {} for data_set in data_sets for name in data_set.methods}
    for measure in (measure for measure in columns() if measure.better):
        means = {name: [_mean(one, name, measure) for one in data_sets] for name in ranked}
        ranks, n_ranked = mean_ranks(means, measure.better)
        for name, own in scores.items():
            signs = [_sign(one, name, measure, against) for one in data_sets]
            own[measure.name] = Score(
                mean_rank=ranks.get(name),
                n_ranked=n_ranked if name in ranks else 0,
                better=signs.count(1),
                worse=signs.count(-1),
                n_compared=len(signs) - signs.count(None),
            )
    return scores


def _marks(found: Across) -> dict[str, Marks]:
    """The methods for the figure, a small mark a data set; where a number is missing on one, it has no mark for it."""
    drawn = {}
    for name, title in titles(found).items():
        own = [one.methods[name].estimates for one in found.data_sets if name in one.methods]
        whole = [[of[measure].mean for measure in TRADEOFFS] for of in own if all(m in of for m in TRADEOFFS)]
        known = [row for row in whole if None not in row]
        if known:
            columns_ = zip(*known, strict=True)
            values = {
                m: [one for one in column if one is not None] for m, column in zip(TRADEOFFS, columns_, strict=True)
            }
            drawn[title] = Marks(values, name in found.ranked)
    return drawn


def _mean(data_set: DataSet, name: str, measure: Measure) -> float | None:
    estimate = data_set.methods[name].estimates.get(measure.name)
    return None if estimate is None else estimate.mean


def _sign(data_set: DataSet, name: str, measure: Measure, against: str) -> int | None:
    """Whether a method is better (1) or worse (-1) than the reference; None where they are not held against it."""
    if name not in data_set.competing or against not in data_set.competing:
        return None
    difference = data_set.methods[name].differences.get(measure.name)
    if difference is None:
        return None
    return measure.better * (1 if difference.mean > 0 else -1) if difference.is_real else 0
