"""``across`` on comparisons made by hand: ranks, wins, who is aside, another reference, mistakes of the user."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from rich.console import Console

from sae_lens_classif import UserError, across
from sae_lens_classif.checksums import read_json, write_json
from sae_lens_classif.cli.display import show_across
from sae_lens_classif.cli.parser import main
from sae_lens_classif.config.classifier import DataConfig
from sae_lens_classif.config.run import RunConfig
from sae_lens_classif.evals.comparison import SeedResult, compare_results
from sae_lens_classif.evals.measures import columns
from sae_lens_classif.runs.across import _held_against
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.runs.results import read_methods
from sae_lens_classif.runs.tables import write_comparison

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "across.json"
TEXTS = np.random.default_rng(0).normal(0, 0.001, size=400)  # what resampled texts do to all methods alike
MEASURES = [measure.name for measure in columns() if measure.has_interval]
RATE, RACC = "mean_activation_rate", "recovery_accuracy"


def measured(value: float | None, **others: float) -> SeedResult:
    """All measures have one value, and 400 resampled ones around it; others by their names."""
    if value is None:
        return SeedResult(0, {}, {}, ("failed: ValueError: no",), None)
    metrics = {**dict.fromkeys(MEASURES, value), "scaled_recovery": 0.95, **others}
    resamples = {name: torch.from_numpy(TEXTS + metrics[name]) for name in MEASURES}
    return SeedResult(0, metrics, resamples, (), 1.0, "abc")


def run_of(folder: Path, source: str, methods: Mapping[str, SeedResult]) -> Path:
    """A run folder with a comparison on a data set."""
    run = RunFolder(folder, replace(RunConfig(), data=DataConfig(source=source)))
    run.note()
    rows = compare_results(
        {name: [result] for name, result in methods.items()}, {name: name.upper() for name in methods}
    )
    write_comparison(run.folder, rows, 100)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Three data sets: ica ahead on two of them, topk_sae never."""
    values = {"news": (0.5, 0.6, 0.4), "films": (0.5, 0.7, 0.4), "tweets": (0.5, 0.3, 0.4)}
    made = []
    for name, (ours, ica, topk) in values.items():
        methods = {
            "classifsae": measured(ours),
            "ica": measured(ica),
            "topk_sae": measured(topk),
            "random_directions": measured(0.99),
        }
        made.append(run_of(tmp_path / name, f"owner/{name}", methods))
    return made


def test_ranks_and_wins_are_over_the_data_sets(runs: list[Path], tmp_path: Path) -> None:
    found = across(runs, tmp_path / "out")
    assert found.ranked == ["classifsae", "ica", "topk_sae"]
    assert found.aside == {"random_directions": "a control"}
    # More is better: classifsae is 2, 2, 1; ica 1, 1, 3; topk_sae 3, 3, 2.
    of = {name: found.scores[name]["influence"] for name in found.scores}
    assert [of[name].mean_rank for name in found.ranked] == pytest.approx([5 / 3, 5 / 3, 8 / 3])
    # Less is better: classifsae is 2, 2, 3; ica 3, 3, 1; topk_sae 1, 1, 2.
    assert [found.scores[name][RATE].mean_rank for name in found.ranked] == pytest.approx([7 / 3, 7 / 3, 4 / 3])
    assert (of["ica"].better, of["ica"].worse, of["ica"].n_compared, of["ica"].n_ranked) == (2, 1, 3, 3)
    assert (of["topk_sae"].better, of["topk_sae"].worse) == (0, 3)
    rate = found.scores["topk_sae"][RATE]
    assert (rate.better, rate.worse) == (3, 0)
    assert (of["random_directions"].mean_rank, of["random_directions"].n_compared) == (None, 0)
    assert of["classifsae"].n_compared == 0, "it is not held against itself"


def test_the_files_hold_all_of_it_and_the_json_is_as_its_schema_says(runs: list[Path], tmp_path: Path) -> None:
    across(runs, tmp_path / "out")
    content = read_json(tmp_path / "out" / "across.json")
    jsonschema.Draft202012Validator(read_json(SCHEMA)).validate(content)
    assert [one["name"] for one in content["data_sets"]] == ["news", "films", "tweets"]
    markdown = (tmp_path / "out" / "across.md").read_text(encoding="utf-8")
    assert "| influence | **1.67** | **1.67** (+2 −1/3) | 2.67 (+0 −3/3) | – |" in markdown
    assert "| mean rate (less is better) | 2.33 | 2.33 (+1 −2/3) | **1.33** (+3 −0/3) | – |" in markdown
    assert "better than CLASSIFSAE on b" in markdown and "Holm's correction" in markdown
    assert "- RANDOM_DIRECTIONS: a control." in markdown and "## tweets" in markdown
    latex = (tmp_path / "out" / "across.tex").read_text(encoding="utf-8")
    assert r"influence & \textbf{1.67} & \textbf{1.67} (+2 $-$1/3) & 2.67 (+0 $-$3/3) & – \\" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 4


def test_equal_methods_win_nothing(tmp_path: Path) -> None:
    same = {"classifsae": measured(0.5), "ica": measured(0.5)}
    found = across([run_of(tmp_path / name, name, same) for name in ("a", "b")], tmp_path / "out")
    score = found.scores["ica"][RACC]
    assert (score.better, score.worse, score.n_compared, score.mean_rank) == (0, 0, 2, 1.5)


def test_a_method_that_is_incomplete_failed_or_missing_somewhere_is_aside_and_says_where(
    runs: list[Path], tmp_path: Path
) -> None:
    more = {
        "classifsae": measured(0.5),
        "ica": measured(0.6),
        "topk_sae": measured(0.9, scaled_recovery=0.5),
        "sae": measured(None),
    }
    found = across([*runs, run_of(tmp_path / "more", "more", more)], tmp_path / "out")
    assert found.ranked == ["classifsae", "ica"]
    assert found.aside["topk_sae"] == "not measured, or below 90 % scaled RAcc, on more"
    assert found.aside["sae"] == "not compared on news, films, tweets; not measured, or below 90 % scaled RAcc, on more"
    # Of the two that are left: ica is first on three of four.
    assert found.scores["ica"]["influence"].mean_rank == 1.25
    score = found.scores["topk_sae"]["influence"]
    assert (score.better, score.worse, score.n_compared) == (0, 3, 3), "what it does where it is incomplete is no win"


def test_where_the_reference_does_not_compete_nothing_is_counted_against_it(runs: list[Path], tmp_path: Path) -> None:
    weak = {"classifsae": measured(0.5, scaled_recovery=0.4), "ica": measured(0.9), "topk_sae": measured(0.8)}
    found = across([*runs, run_of(tmp_path / "weak", "weak", weak)], tmp_path / "out")
    assert found.ranked == ["ica", "topk_sae"]
    assert found.scores["ica"]["influence"].n_compared == 3
    said = (tmp_path / "out" / "across.md").read_text(encoding="utf-8")
    assert "CLASSIFSAE does not compete on weak: nothing is counted against it there" in said


def test_a_measure_that_is_missing_on_a_data_set_is_ranked_over_the_others(runs: list[Path], tmp_path: Path) -> None:
    part = {"classifsae": measured(0.5), "ica": measured(0.6), "topk_sae": measured(0.1)}
    for name in ("classifsae", "ica"):
        part[name] = replace(part[name], metrics={**part[name].metrics, "influence": None})
    found = across([*runs, run_of(tmp_path / "part", "part", part)], tmp_path / "out")
    assert found.scores["topk_sae"]["influence"].n_ranked == 3
    assert found.scores["topk_sae"][RACC].n_ranked == 4
    assert "influence over 3" in (tmp_path / "out" / "across.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("source", "words"),
    [("owner/news", "same data set"), ("other/news", "")],
)
def test_the_same_data_set_twice_is_refused_one_of_the_same_name_is_not(
    runs: list[Path], tmp_path: Path, source: str, words: str
) -> None:
    twin = run_of(tmp_path / "twin", source, {"classifsae": measured(0.5), "ica": measured(0.6)})
    if words:
        with pytest.raises(UserError, match=f"news and .*twin are of the {words}"):
            across([runs[0], twin], tmp_path / "out")
        assert not (tmp_path / "out").exists()
    else:
        found = across([runs[0], twin], tmp_path / "out")
        assert [one.name for one in found.data_sets] == [str(runs[0]), str(twin)]


def test_mistakes_are_told_in_words(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="1 run folder was given"):
        across(runs[:1], out)
    with pytest.raises(UserError, match="no run folder"):
        across([runs[0], tmp_path / "nothing"], out)
    with pytest.raises(UserError, match="did you mean 'topk_sae'"):
        across(runs, out, against="topk")
    stranger = run_of(tmp_path / "stranger", "strange", {"sae": measured(0.5), "classifsae": measured(0.6)})
    with pytest.raises(UserError, match=r"no two methods in common: .*news has classifsae, ica"):
        across([runs[0], stranger], out)
    file = runs[1] / "comparison.json"
    file.write_text(json.dumps(read_json(file)).replace('"p_holm"', '"p_of_old"'), encoding="utf-8")
    with pytest.raises(UserError, match=r"films/comparison\.json is not what this version writes"):
        across(runs, out)
    file.unlink()
    with pytest.raises(UserError, match=r"films has no comparison\.json; run `sae-lens-classif compare --run"):
        across(runs, out)
    assert not out.exists()


def test_without_the_resampled_values_another_reference_is_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"classifsae no longer holds the .* `sae-lens-classif compare --run .*news` again"
    ):
        across(runs, tmp_path / "out", against="ica")


def test_a_comparison_of_other_evaluations_than_the_run_holds_is_refused(runs: list[Path], tmp_path: Path) -> None:
    """As where an old comparison.json is put back, whole and with its own checksum."""
    evaluation = RunFolder.open(runs[1]).evaluations("ica", 0) / "completeness.json"
    for settings, is_refused in (("abc", False), ("of later", True)):
        write_json(evaluation, {"eval_result_unstructured": {"settings_sha256": settings}})
        if is_refused:
            with pytest.raises(UserError, match=r"films.*another fit of ica, seed 0, .* `sae-lens-classif compare"):
                across(runs, tmp_path / "out")
        else:
            across(runs, tmp_path / "out")


def test_in_the_terminal_it_fits_100_columns_with_no_heading_cut(runs: list[Path], tmp_path: Path) -> None:
    console = Console(width=100, file=io.StringIO(), record=True)
    show_across(console, across(runs, tmp_path / "out"))
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= 100
    for measure in (measure for measure in columns() if measure.is_essential):
        assert shown.count(f" {measure.column} ") >= 5, "on three data sets, in ranks and in wins"
    assert "1.67" in shown and "+2 −1/3" in shown and "RANDOM_DIRECTIONS: a control." in shown


def test_a_mistake_on_the_command_line_ends_with_2_and_one_line(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for given, words in ((runs[:1], "two or more"), ([*runs, "--agianst", "ica"], "did you mean 'against'")):
        with pytest.raises(SystemExit) as ended:
            main(["across", *map(str, given), "--out", str(tmp_path / "out")])
        said = capsys.readouterr().err
        assert ended.value.code == 2 and words in said and said.count("\n") == 1


def test_another_reference_is_read_from_the_resampled_values_that_the_run_kept(demo_folder: Path) -> None:
    """ICA held against ClassifSAE, and ClassifSAE against ICA, differ in the sign alone: the drawings are the same."""
    run = RunFolder.open(demo_folder / "runs" / "demo")
    methods = read_methods(run).methods
    turned = _held_against(run, methods, "ica")
    assert (
        not turned["ica"].differences and methods["ica"].differences.keys() == turned["classifsae"].differences.keys()
    )
    for name, difference in methods["ica"].differences.items():
        other = turned["classifsae"].differences[name]
        assert other.mean == pytest.approx(-difference.mean)
        assert other.p_value == difference.p_value
    assert turned["ica"].estimates == methods["ica"].estimates
