"""Comparisons by hand: means and intervals over seeds and texts, real differences, and the three tables."""

import itertools
import json
import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from sae_lens_classif.checksums import read_json
from sae_lens_classif.config.run import EvaluateConfig
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.comparison import (
    ComparedMethod,
    SeedResult,
    compare_results,
    estimate,
)
from sae_lens_classif.evals.evaluate import Evaluation
from sae_lens_classif.evals.measures import columns, compared_measures
from sae_lens_classif.evals.results import Measures, finite
from sae_lens_classif.runs.results import read_measures, write_evaluation
from sae_lens_classif.runs.tables import best_methods, context_notes, marks, to_latex, to_markdown, write_comparison

Array = npt.NDArray[np.float64]
TVD = "conditional_tvd"
N_COLUMNS = 28  # the method, twenty-six measures, the time
NEITHER = {
    "recovery_floor", "recovery_ceiling", "scaled_recovery_random_directions", "sufficiency_random_directions",
    "conditional_tvd_random_directions", "influence_random_directions",
}  # fmt: skip  # of which neither more nor less is better
_QUANTILES = (0.025, 0.975)
WITH_INTERVAL = [measure.name for measure in compared_measures(has_interval=True)]
WITHOUT = [measure.name for measure in compared_measures(has_interval=False)]


def result(
    seed: int = 0,
    value: float | None = 0.5,
    resamples: Array | None = None,
    notes: tuple[str, ...] = (),
    seconds: float | None = None,
    **metrics: Any,
) -> SeedResult:
    """What was measured of TVD with one seed; other measures by their names."""
    own = {} if resamples is None else {TVD: torch.from_numpy(resamples)}
    return SeedResult(seed, {TVD: value, **metrics}, own, notes, seconds)


def failed(seed: int, note: str = "failed: ValueError: no") -> SeedResult:
    return SeedResult(seed, {}, {}, (note,), None)


def compared(**results: Sequence[SeedResult]) -> dict[str, ComparedMethod]:
    rows = compare_results(results, {name: f"The {name}" for name in results})
    return {row.name: row for row in rows}


def complete(values: float, notes: tuple[str, ...] = ()) -> SeedResult:
    """All measures have one value, and resampled ones around it."""
    spread = torch.from_numpy(values + np.linspace(-0.1, 0.1, 41))
    metrics = dict.fromkeys((*WITH_INTERVAL, *WITHOUT), values)
    return SeedResult(0, metrics, dict.fromkeys(WITH_INTERVAL, spread), notes, 3.6)


# --- means and intervals ---


def test_the_mean_is_over_seeds_and_the_values_of_the_seeds_are_kept() -> None:
    found = estimate([result(0, 0.2), result(1, 0.5), result(2, 0.8)], TVD)
    assert found.mean == pytest.approx(0.5)
    assert found.by_seed == (0.2, 0.5, 0.8)
    assert found.ci95 is None, "nothing was resampled"


def test_with_one_seed_the_interval_is_that_of_the_texts() -> None:
    values = np.random.default_rng(0).normal(size=1001)
    found = estimate([result(resamples=values)], TVD)
    assert found.ci95 == pytest.approx(tuple(np.quantile(values, _QUANTILES)))


def test_seeds_that_differ_more_than_texts_decide_the_interval() -> None:
    # Two seeds, drawn twice: the mean is 0, 0.5 or 1 with chances 1/4, 1/2, 1/4.
    found = estimate([result(0, 0.0, np.zeros(999)), result(1, 1.0, np.ones(999))], TVD)
    assert found.ci95 == (0, 1)


@pytest.mark.parametrize("n_seeds", [2, 3])
def test_the_interval_is_that_of_every_resampling_of_texts_with_every_drawing_of_seeds(n_seeds: int) -> None:
    random = np.random.default_rng(n_seeds)
    texts = random.normal(size=40_000)  # what resampled texts do to all seeds alike
    seeds = [texts + effect for effect in (0.0, 1.5, -0.7)[:n_seeds]]
    found = estimate([result(seed, 0.0, values) for seed, values in enumerate(seeds)], TVD)
    every = np.concatenate(
        [
            np.mean([seeds[seed] for seed in drawn], axis=0)
            for drawn in itertools.product(range(n_seeds), repeat=n_seeds)
        ]
    )
    expected = np.quantile(every, _QUANTILES)
    narrower = np.quantile(np.mean(seeds, axis=0), _QUANTILES)
    # 40,000 drawings know a quantile to 0.02; the seeds make the interval wider by five times that.
    assert found.ci95 is not None
    np.testing.assert_allclose(found.ci95, expected, atol=0.05)
    assert np.diff(expected) > np.diff(narrower) + 0.25


def test_equal_seeds_have_the_interval_of_the_texts_alone() -> None:
    values = np.random.default_rng(0).normal(size=1001)
    found = estimate([result(seed, 0.5, values) for seed in range(4)], TVD)
    assert found.ci95 == pytest.approx(tuple(np.quantile(values, _QUANTILES)))


def test_a_measure_without_resampled_texts_has_no_interval() -> None:
    row = compared(classifsae=[result(0, c_v=0.4)])["classifsae"]
    assert (row.estimates["c_v"].mean, row.estimates["c_v"].ci95) == (0.4, None)


def test_a_measure_is_not_known_where_a_seed_lacks_it() -> None:
    values = np.linspace(0, 1, 11)
    for lacking in (failed(1), result(1, None), result(1, math.nan, values)):
        found = estimate([result(0, 0.5, values), lacking], TVD)
        assert (found.mean, found.ci95) == (None, None)
        assert found.by_seed[0] == 0.5


def test_resamplings_without_a_value_are_left_out_of_the_interval() -> None:
    values = np.random.default_rng(0).normal(size=1001)
    holes = values.copy()
    holes[::7] = math.nan
    known = tuple(np.quantile(holes[~np.isnan(holes)], _QUANTILES))
    assert estimate([result(resamples=holes)], TVD).ci95 == pytest.approx(known)


def test_resamplings_that_all_lack_a_value_give_no_interval() -> None:
    assert estimate([result(resamples=np.full(11, math.nan))], TVD).ci95 is None


# --- differences ---


def test_a_difference_that_resampled_texts_share_is_real_though_the_intervals_overlap() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, size=1000)
    rows = compared(
        classifsae=[result(0, 0.5, values)],
        better=[result(0, 0.51, values + 0.01)],
        worse=[result(0, 0.49, values - 0.01)],
    )
    for name, by in (("better", 0.01), ("worse", -0.01)):
        difference = rows[name].differences[TVD]
        assert difference.mean == pytest.approx(by)
        assert difference.ci95 == pytest.approx((by, by))
        assert difference.is_real
    own, other = rows["classifsae"].estimates[TVD].ci95, rows["better"].estimates[TVD].ci95
    assert own is not None and other is not None and other[0] < own[1]
    assert rows["classifsae"].differences == {}


def test_a_difference_whose_interval_holds_zero_is_not_real() -> None:
    random = np.random.default_rng(0)
    values = random.normal(0.5, 0.1, size=1000)
    noise = random.normal(0, 0.1, size=1000)
    rows = compared(classifsae=[result(0, 0.5, values)], other=[result(0, 0.52, values + 0.02 + noise)])
    difference = rows["other"].differences[TVD]
    assert difference.ci95 == pytest.approx(tuple(np.quantile(0.02 + noise, _QUANTILES)))
    assert difference.mean == pytest.approx(0.02) and not difference.is_real


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_the_same_method_differs_by_exactly_nothing(n_seeds: int) -> None:
    random = np.random.default_rng(0)
    own = [result(seed, value, random.normal(value, 0.1, size=500)) for seed, value in enumerate((0.1, 0.7, 0.4))]
    difference = compared(classifsae=own[:n_seeds], copy=own[:n_seeds])["copy"].differences[TVD]
    assert difference.mean == 0
    assert not difference.is_real


def test_seeds_that_differ_more_than_the_methods_make_a_difference_unreal() -> None:
    flat = np.zeros(1000)
    rows = compared(
        classifsae=[result(0, 0.2, flat + 0.2), result(1, 0.8, flat + 0.8)],
        other=[result(0, 0.3, flat + 0.3), result(1, 0.9, flat + 0.9)],
    )
    difference = rows["other"].differences[TVD]
    assert difference.mean == pytest.approx(0.1) and not difference.is_real
    # The seeds of two methods have nothing in common: 0.9 may meet 0.2, and 0.3 may meet 0.8.
    assert difference.ci95 == pytest.approx((-0.5, 0.7))


def test_nothing_differs_from_a_reference_that_failed_or_was_not_asked_for() -> None:
    values = np.linspace(0, 1, 11)
    rows = compared(classifsae=[failed(0)], other=[result(0, 0.5, values)])
    assert rows["other"].differences == {}
    assert rows["other"].estimates[TVD].mean == 0.5
    assert compared(other=[result(0, 0.5, values)])["other"].differences == {}


def test_a_method_that_failed_with_one_seed_has_no_difference_and_spoils_no_other() -> None:
    values = np.linspace(0.4, 0.6, 41)
    rows = compared(
        classifsae=[result(0, 0.5, values), result(1, 0.5, values)],
        broken=[result(0, 0.9, values), failed(1)],
        fine=[result(0, 0.9, values + 0.4), result(1, 0.9, values + 0.4)],
    )
    assert rows["broken"].differences == {}
    assert rows["broken"].estimates[TVD].by_seed == (0.9, None)
    assert rows["broken"].seeds == (0, 1)
    assert rows["broken"].notes == ("seed 1: failed: ValueError: no",)
    assert rows["fine"].differences[TVD].is_real


def test_notes_say_which_seeds_they_concern_where_there_are_several() -> None:
    several = [result(0, notes=("a", "b")), result(3, notes=("b",)), result(7, notes=("a", "c"))]
    assert compared(classifsae=several)["classifsae"].notes == ("seed 0, 7: a", "seed 0, 3: b", "seed 7: c")
    assert compared(classifsae=several[:1])["classifsae"].notes == ("a", "b")


def test_the_time_of_a_fit_is_the_mean_of_those_that_were_timed() -> None:
    rows = compared(classifsae=[result(0)], other=[result(0, seconds=2.0), result(1), result(2, seconds=5.0)])
    assert rows["classifsae"].fit_seconds is None
    assert rows["other"].fit_seconds == 3.5


# --- the tables ---


def _rows_of_markdown(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def _rows_of_latex(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.endswith(r" \\")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)&", line.removesuffix(r" \\"))] for line in lines]


def _check_latex(table: str, folder: Path) -> None:
    """Columns and braces by hand, and the real thing where it is installed."""
    begin, rest = table.split("\n", 1)
    body, comments = rest.split("\\end{tabular}\n")
    assert begin == r"\begin{tabular}{l" + "r" * (N_COLUMNS - 1) + "}"
    assert all(line.startswith("%") for line in comments.splitlines())
    assert not re.search(r"(?<!\\)[#%~^_](?!\{\*\})", body.replace("$^{*}$", "")), "not escaped"
    assert len(re.findall(r"(?<!\\)\$", body)) % 2 == 0
    depth = list(itertools.accumulate({"{": 1, "}": -1}[brace] for brace in re.findall(r"(?<!\\)[{}]", body)))
    assert depth[-1] == 0 and min(depth) >= 0
    assert all(len(row) == N_COLUMNS for row in _rows_of_latex(table))
    if shutil.which("pdflatex"):
        document = "\n".join(
            [r"\documentclass{article}\usepackage{booktabs}\begin{document}", table, r"\end{document}"]
        )
        (folder / "table.tex").write_text(document, encoding="utf-8")
        command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "table.tex"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_a_cell_holds_mean_interval_best_in_bold_and_a_mark_where_it_differs(tmp_path: Path) -> None:
    texts = np.linspace(0, 0.1, 41)
    rows = compared(
        classifsae=[result(0, 0.25, texts + 0.2, concept_sim=0.12345)],
        other=[result(0, 0.2504, texts + 0.3, concept_sim=0.5)],
    )
    methods = list(rows.values())
    header, _, first, second = _rows_of_markdown(to_markdown(methods, 1234))
    column = header.index("TVD, %")
    # The 2.5 % quantile of 41 even steps is the second of them.
    assert first[column] == "25.0 (20.2 … 29.8)"
    assert second[column] == r"**25.0**\* (30.2 … 39.8)"
    assert [row[header.index("ConceptSim")] for row in (first, second)] == ["0.123", "**0.500**"]
    assert first[header.index("RAcc, %")] == first[header.index("fit, s")] == "–"
    latex = to_latex(methods, 1234)
    _check_latex(latex, tmp_path)
    assert _rows_of_latex(latex)[2][column] == r"\textbf{25.0}$^{*}$ {\scriptsize(30.2 \dots{} 39.8)}"


def test_contexts_that_disagree_about_the_best_method_are_told() -> None:
    def row(influence: float, there: float | None) -> SeedResult:
        shares = {"scaled_recovery": 0.95, "scaled_recovery_other_context": 0.5, "influence": influence}
        metrics = shares if there is None else {**shares, "influence_other_context": there}
        return SeedResult.of(0, {"one": Measures(dict(metrics))})

    def notes(**influences: tuple[float, float | None]) -> list[str]:
        results = {name: [row(*both)] for name, both in influences.items()}
        return context_notes(compare_results(results, {name: f"The {name}" for name in results}))

    (note,) = notes(ica=(0.1, 0.4), classifsae=(0.2, 0.3))
    assert "best influence: The classifsae by evaluate.context, The ica in the other one" in note
    assert notes(ica=(0.1, 0.2), classifsae=(0.2, 0.3)) == []
    assert notes(ica=(0.1, None), classifsae=(0.2, None)) == [], "the other context was not measured"
    assert notes(random_directions=(0.1, 0.4), classifsae=(0.2, 0.3), ica=(0.1, 0.2)) == [], "a control cannot win"


def test_every_measure_of_the_table_has_its_place_in_every_row() -> None:
    methods = list(compared(classifsae=[complete(0.5)], other=[complete(0.25)]).values())
    header, _, first, second = _rows_of_markdown(to_markdown(methods, 10))
    assert len(header) == len(first) == N_COLUMNS
    assert first[0] == "The classifsae" and first[-1] == "4"
    less_is_better = {
        "mean_activation_rate", "max_activation_rate", "unexplained_texts", "conditional_accuracy_change",
    }  # fmt: skip
    bare = {"concept_sim", "c_v", "c_npmi"}
    for measure, heading, one, other in zip(columns(), header[1:-1], first[1:-1], second[1:-1], strict=True):
        in_percent, more_is_better = measure.name not in bare, measure.name not in less_is_better
        assert heading.endswith(", %") == in_percent
        assert ("50.0" if in_percent else "0.500") in one
        assert ("25.0" if in_percent else "0.250") in other
        is_told = measure.name not in NEITHER
        assert ("**" in one, "**" in other) == (is_told and more_is_better, is_told and not more_is_better), (
            measure.name
        )


def test_a_control_never_wins_though_it_is_best() -> None:
    methods = list(
        compared(
            classifsae=[complete(0.5)],
            ica=[complete(0.4)],
            random_directions=[complete(0.9)],
            permuted_labels=[complete(0.01)],
        ).values()
    )
    assert set(best_methods(methods).values()) == {"classifsae", "ica"}
    for table, bold in ((to_markdown(methods, 9), "**"), (to_latex(methods, 9), r"\textbf")):
        lines = [line for line in table.splitlines() if "random_dir" in line.replace("\\_", "_") or "permuted" in line]
        assert len(lines) == 3 and "may be chance" in lines.pop() and not any(bold in line for line in lines)


def test_a_method_that_is_alone_beside_controls_is_best_of_nothing() -> None:
    methods = list(compared(classifsae=[complete(0.5)], random_directions=[complete(0.4)]).values())
    assert best_methods(methods) == {}
    assert "**" not in to_markdown(methods, 9)


def test_a_number_that_is_none_is_never_best_and_never_shown(tmp_path: Path) -> None:
    holes = np.full(11, math.nan)
    methods = list(
        compared(
            strange=[result(0, math.nan, holes, ("what it gave is no number",))],
            classifsae=[result(0, 0.5, np.linspace(0.4, 0.6, 11))],
            other=[result(0, 0.4, np.linspace(0.3, 0.5, 11))],
        ).values()
    )
    assert best_methods(methods)[TVD] == "classifsae"
    write_comparison(tmp_path, methods, 10)
    for suffix in ("json", "md", "tex"):
        text = (tmp_path / f"comparison.{suffix}").read_text(encoding="utf-8")
        assert "what it gave is no number" in text
        assert not re.search(r"\b(nan|inf)\b", text, re.IGNORECASE), suffix


def test_a_method_of_which_nothing_was_measured_is_in_all_three_tables_with_its_note(tmp_path: Path) -> None:
    methods = list(
        compared(
            classifsae=[complete(0.5), complete(0.5)],
            broken=[failed(0, "failed: RuntimeError: shapes"), failed(1, "failed: RuntimeError: shapes")],
            half=[complete(0.4), failed(1, "gave numbers that are not finite")],
        ).values()
    )
    write_comparison(tmp_path, methods, 10)
    content = read_json(tmp_path / "comparison.json")
    assert list(content["methods"]) == ["classifsae", "broken", "half"]
    assert content["methods"]["broken"]["notes"] == ["seed 0, 1: failed: RuntimeError: shapes"]
    assert content["methods"]["broken"]["estimates"][TVD] == {"mean": None, "ci95": None, "by_seed": [None, None]}
    assert content["methods"]["half"]["estimates"][TVD]["by_seed"] == [0.4, None]
    markdown = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    for number in (3, 4):
        assert set(_rows_of_markdown(markdown)[number][1:-1]) == {"–"}
    latex = (tmp_path / "comparison.tex").read_text(encoding="utf-8")
    _check_latex(latex, tmp_path)
    for table in (markdown, latex):
        assert "The broken: seed 0, 1: failed: RuntimeError: shapes" in table
        assert "The half: seed 1: gave numbers that are not finite" in table


def test_the_json_holds_every_number_of_the_comparison(tmp_path: Path) -> None:
    rows = compared(classifsae=[complete(0.5)], other=[complete(0.75)])
    write_comparison(tmp_path, list(rows.values()), 77)
    content = read_json(tmp_path / "comparison.json")
    assert content["n_test_texts"] == 77
    other = content["methods"]["other"]
    assert (other["title"], other["seeds"], other["fit_seconds"]) == ("The other", [0], 3.6)
    assert set(other["estimates"]) == {*WITH_INTERVAL, *WITHOUT}
    for measure in WITH_INTERVAL:
        assert other["estimates"][measure]["mean"] == 0.75
        assert other["estimates"][measure]["ci95"] == pytest.approx([0.655, 0.845])
        if measure in NEITHER:
            assert measure not in other["differences"]
            continue
        assert other["differences"][measure]["mean"] == 0.25
        assert other["differences"][measure]["is_real"] is True


AWKWARD = r"A & B_1 | #2: 50 % {x} $y$ ~z ^w \v"


def test_titles_and_notes_of_any_characters_leave_the_tables_whole(tmp_path: Path) -> None:
    results = {
        "classifsae": [complete(0.5)],
        "awkward": [complete(0.4, notes=("first line\nsecond | line\n\n# third \\ 100 %",))],
    }
    methods = compare_results(results, {"classifsae": "ClassifSAE", "awkward": AWKWARD})
    markdown, latex = to_markdown(methods, 10), to_latex(methods, 10)
    rows = _rows_of_markdown(markdown)
    assert [len(row) for row in rows] == [N_COLUMNS] * 4
    assert rows[3][0] == AWKWARD.replace("|", r"\|")
    _check_latex(latex, tmp_path)
    escaped = r"A \& B\_1 | \#2: 50 \% \{x\} \$y\$ \~{}z \^{}w \textbackslash{}v"
    assert _rows_of_latex(latex)[2][0] == escaped
    after = markdown.split("Notes:")[1].strip().splitlines()
    assert len(after) == 1 and "first line second | line # third" in after[0], "a note is one entry of the list"


def test_the_tables_say_what_their_intervals_are_over_and_what_their_marks_mean() -> None:
    one = list(compared(classifsae=[complete(0.5)]).values())
    assert "95 % bootstrap intervals over the 1,234 test texts" in to_markdown(one, 1234)
    assert "differs from" not in to_markdown(one, 1234)
    several = list(compared(classifsae=[complete(0.5)] * 3, other=[complete(0.4)] * 3).values())
    for table in (to_markdown(several, 50), to_latex(several, 50)):
        assert "3 seeds and the 50 test texts" in table
        assert "differs from The classifsae: paired bootstrap, p ≤ 0.05 after Holm's correction" in table
        assert "over 1 method, each measure by itself." in table


def test_too_few_resamplings_for_any_difference_are_told_below_the_table() -> None:
    # Two methods against the reference: 2 · 2 / (R + 1) is at most 0.05 from R = 79 on.
    for n, can_differ in ((79, True), (78, False)):
        texts = np.linspace(0.5, 0.6, n)
        rows = compared(
            classifsae=[result(0, 0.5, texts)], b=[result(0, 0.7, texts + 0.2)], c=[result(0, 0.55, texts[::-1].copy())]
        )
        assert rows["b"].differences[TVD].is_real == can_differ
        assert not rows["c"].differences[TVD].is_real
        about = marks(list(rows.values()))
        assert "over 2 methods" in about
        told = f"{n} resamplings are too few for any difference: set evaluate.n_bootstrap to 79 or more" in about
        assert told != can_differ


def test_p_values_are_corrected_over_the_methods_for_each_measure_by_itself() -> None:
    # Of 99 resampled differences 1, 2 and 40 are below 0: p is 2 · 2 / 100, 2 · 3 / 100, 2 · 41 / 100.
    def shifted(below: int) -> Array:
        return np.where(np.arange(99) < below, -1.0, 1.0)

    zero = np.zeros(99)
    rows = compared(
        a=[result(0, 0.1, shifted(2))],
        classifsae=[result(0, 0.0, zero)],
        b=[result(0, 0.1, shifted(40))],
        random_directions=[result(0, 0.1, shifted(1))],
        broken=[failed(0)],
    )
    found = {name: row.differences[TVD] for name, row in rows.items() if row.differences}
    assert {name: one.p_value for name, one in found.items()} == pytest.approx(
        {"a": 0.06, "b": 0.82, "random_directions": 0.04}
    )
    # The smallest counts three times, the next twice; a control is a method, one that failed is not.
    assert {name: one.p_holm for name, one in found.items()} == pytest.approx(
        {"a": 0.12, "b": 0.82, "random_directions": 0.12}
    )
    assert not any(one.is_real for one in found.values())
    alone = compared(classifsae=[result(0, 0.0, zero)], random_directions=[result(0, 0.1, shifted(1))])
    assert alone["random_directions"].differences[TVD].is_real, "0.04, with nothing else to be asked"


def test_any_method_can_be_the_one_that_the_others_are_held_against() -> None:
    texts = np.random.default_rng(0).normal(0.5, 0.1, size=200)
    results = {"classifsae": [result(0, 0.5, texts)], "ica": [result(0, 0.7, texts + 0.2)]}
    ours, theirs = compare_results(results, {name: name for name in results}, against="ica")
    assert theirs.differences == {}
    assert ours.differences[TVD].mean == pytest.approx(-0.2) and ours.differences[TVD].is_real


# --- the files of evaluations ---


def _write(folder: Path, values: Array, settings: str = "abc") -> Path:
    others = ("median_tvd", "influence", "conditional_label_flip_rate", "conditional_accuracy_change")
    by_chance = ("conditional_tvd_random_directions", "influence_random_directions", "influence_over_chance")
    pairs = {name: [0.5, math.nan] for name in (TVD, *others, *by_chance)}
    metrics = {**dict.fromkeys(pairs, math.nan), **{f"{name}_ci95": pair for name, pair in pairs.items()}}
    measures = Measures({**metrics, TVD: 0.75}, {"concepts": [], "segments": [[1, 0], []], "global": []})
    measures.add_intervals((TVD,), torch.from_numpy(values)[:, None])
    folder, cfg = folder / "evals" / "mine", EvaluateConfig(evals=("causality",))
    evaluation = Evaluation({"causality": measures}, (), ("careful",))
    write_evaluation(folder, evaluation, cfg, settings=settings, method="mine", release="run", sae_cfg={"k": 10})
    return folder


def test_an_evaluation_is_read_as_it_was_written_with_its_resampled_values(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=101)
    folder = _write(tmp_path, values)
    (known,) = read_measures(folder, "abc").items()
    name, measures = known
    assert name == "causality"
    assert measures.resamples[TVD].tolist() == values.tolist()
    assert measures.metrics[TVD] == 0.75
    assert measures.metrics[f"{TVD}_ci95"] == pytest.approx(list(np.quantile(values, _QUANTILES)))
    assert measures.metrics["conditional_label_flip_rate"] is None
    assert measures.details == {"concepts": [], "segments": [[1, 0], []], "global": []}
    assert read_measures(folder, "other") == {}
    assert set(read_measures(folder)) == {"causality"}
    assert sorted(path.name for path in folder.iterdir()) == ["causality.json", "causality.safetensors"]


def test_a_result_has_the_shape_of_saebench(tmp_path: Path) -> None:
    result = read_json(_write(tmp_path, np.zeros(50)) / "causality.json")
    assert list(result) == [
        "eval_type_id", "eval_config", "eval_id", "datetime_epoch_millis", "eval_result_metrics",
        "eval_result_details", "eval_result_unstructured", "sae_lens_id", "sae_lens_release_id",
        "sae_lens_version", "sae_cfg_dict",
    ]  # fmt: skip
    assert (result["eval_type_id"], result["eval_config"]["seed"]) == ("classif_causality", 0)
    assert (result["sae_lens_id"], result["sae_lens_release_id"], result["sae_cfg_dict"]) == ("mine", "run", {"k": 10})
    unstructured = result["eval_result_unstructured"]
    assert set(unstructured) == {"settings_sha256", "resamples_sha256", "warnings"}
    assert (unstructured["settings_sha256"], unstructured["warnings"]) == ("abc", ["careful"])
    assert result["eval_result_metrics"]["conditional_accuracy_change_ci95"] == [0.5, None]


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_an_evaluation_without_its_resampled_values_counts_as_not_done(damage: str, tmp_path: Path) -> None:
    path = _write(tmp_path, np.zeros(50)) / "causality.safetensors"
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"causality\.safetensors"):
        read_measures(path.parent, "abc")
    assert read_measures(path.parent, "abc", to_measure=True) == {}


def test_resampled_values_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "own", np.zeros(50)) / "causality.safetensors"
    shutil.copy(_write(tmp_path / "other", np.ones(50)) / "causality.safetensors", path)
    with pytest.raises(UserError, match="belongs to another evaluation"):
        read_measures(path.parent, "abc")
    assert read_measures(path.parent, "abc", to_measure=True) == {}


def test_an_evaluation_that_another_version_wrote_counts_as_not_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = _write(tmp_path, np.zeros(50)) / "causality.json"
    file.write_text(json.dumps(read_json(file)).replace(TVD, "tvd_of_old"), encoding="utf-8")
    assert read_measures(file.parent, "abc") == {}
    assert str(file) in caplog.text and TVD in caplog.text


def test_an_evaluation_that_gives_what_it_does_not_declare_is_refused_by_name(tmp_path: Path) -> None:
    evaluation = Evaluation({"causality": Measures({TVD: 1.5})}, ())
    with pytest.raises(UserError, match=f"'causality' gave something else than it declares.*{TVD}"):
        write_evaluation(
            tmp_path,
            evaluation,
            EvaluateConfig(evals=("causality",)),
            settings="abc",
            method="mine",
            release="run",
            sae_cfg={},
        )


def test_what_json_cannot_hold_becomes_null_however_deep() -> None:
    deep = {"a": [1.5, math.nan, (math.inf, {"b": -math.inf})], "c": "nan", "d": None, "e": True}
    assert finite(deep) == {"a": [1.5, None, [None, {"b": None}]], "c": "nan", "d": None, "e": True}
