"""``compare`` end to end on a tiny classifier: the tables, what is reused, mistakes of the user, methods that fail."""

import contextlib
import io
import json
import logging
import math
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import datasets
import numpy as np
import pytest
import torch
from sae_lens import StandardSAE, StandardSAEConfig
from safetensors.torch import load_file

from sae_lens_classif import ActivationStore, load_config, load_method
from sae_lens_classif.checksums import read_json, write_json
from sae_lens_classif.cli.parser import main
from sae_lens_classif.config.methods import CompareConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.methods import base
from sae_lens_classif.methods.base import built_in_methods
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.runs.results import read_methods
from tests.tiny_run import ended_process

BUILT_IN = built_in_methods()
METHODS = list(dict.fromkeys([*CompareConfig().methods, *BUILT_IN]))
SEEDS = (0, 1)
CLASS_NAMES = "[animals,weather,money]"
SMALL = (
    "--sae.d_sae", "32", "--sae.k", "4", "--sae.n_concepts", "6",
    "--train.total_samples", "2000", "--train.batch_size", "50", "--train.lr", "5e-3", "--train.n_checkpoints", "0",
    "--baselines.epochs", "2", "--baselines.hidden_dim", "16", "--baselines.batch_size", "64",
    "--evaluate.n_bootstrap", "20", "--evaluate.figures", "false", "--compare.seeds", "[0,1]",
)  # fmt: skip


class Ended(NamedTuple):
    """How a command ended."""

    code: int | str | None
    stdout: str
    stderr: str


def compare(run: Path, *options: object) -> Ended:
    """Run ``compare`` in this process; code 0 where it came to its end."""
    code: int | str | None = 0
    streams = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with pytest.MonkeyPatch.context() as patch, streams[0] as out, streams[1] as err:
        patch.setenv("COLUMNS", "160")  # a narrower terminal breaks long titles
        try:
            main(["compare", "--run", str(run), *(str(option) for option in options)])
        except SystemExit as stop:
            code = stop.code
    return Ended(code, out.getvalue(), err.getvalue())


def finished_comparing(run: Path, *options: object) -> dict[str, Any]:
    """Run ``compare`` to its end and give the methods of ``comparison.json``."""
    ended = compare(run, *options)
    assert ended.code == 0, ended.stderr
    return methods_of(run)


def methods_of(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = read(run / "comparison.json")["methods"]
    return content


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_json(path)
    return content


def refused(ended: Ended, *words: str) -> None:
    """The user's mistake, in one line."""
    assert ended.code == 2, ended
    line = ended.stderr.splitlines()[-1]
    assert line.startswith("error: ") and ended.stderr.count("error: ") == 1
    assert "Traceback" not in ended.stderr
    for word in words:
        assert word in line, line


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of every file below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def without_times(methods: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {**row, "fit_seconds": None} for name, row in methods.items()}


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets_cache")))
        patch.setenv("TRANSFORMERS_VERBOSITY", "error")
        patch.setenv("TOKENIZERS_PARALLELISM", "false")
        yield


def write_texts(folder: Path, **splits: TextData) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in splits.items():
        rows = zip(data.texts, data.labels.tolist(), strict=True)
        lines = [json.dumps({"text": text, "label": data.class_names[label]}) + "\n" for text, label in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def options(
    tmp_path_factory: pytest.TempPathFactory, classifier_folder: Path, train_data: TextData, test_data: TextData
) -> tuple[str, ...]:
    """Everything but the methods and what a run folder knows by itself once it is begun."""
    texts = write_texts(tmp_path_factory.mktemp("texts") / "topics", train=train_data, test=test_data)
    data = (
        "--data.source",
        str(texts),
        "--data.class_names",
        CLASS_NAMES,
        "--classifier.model",
        str(classifier_folder),
    )
    return (*data, *SMALL)


class Finished(NamedTuple):
    """A run folder in which all methods were compared, and what was printed."""

    folder: Path
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def all_methods(tmp_path_factory: pytest.TempPathFactory, options: tuple[str, ...]) -> Finished:
    folder = tmp_path_factory.mktemp("compared") / "all"
    ended = compare(folder, *options, "--compare.methods", ",".join(METHODS))
    assert ended.code == 0, ended.stderr
    return Finished(folder, ended.stdout, ended.stderr)


@pytest.fixture
def run(all_methods: Finished, tmp_path: Path) -> Path:
    """A copy of that run folder, to be changed."""
    shutil.copytree(all_methods.folder, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory, options: tuple[str, ...]) -> Path:
    """A run folder with hidden states and one cheap method."""
    folder = tmp_path_factory.mktemp("cached") / "run"
    finished_comparing(folder, *options, "--compare.methods", "[random_directions]", "--compare.seeds", "[0]")
    return folder


@pytest.fixture
def begun(cached: Path, tmp_path: Path) -> Path:
    """A copy of that run folder, to be changed."""
    shutil.copytree(cached, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """Writes a module of the user's into the current folder; it is forgotten after the test."""
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def write(name: str, body: str) -> str:
        (folder / f"{name}.py").write_text(_MODULE + body, encoding="utf-8")
        sys.modules.pop(name, None)
        return name

    with mock.patch.dict(base.REGISTRY):
        yield write
    for name in set(sys.modules) - before:
        if (folder / f"{name}.py").exists():
            del sys.modules[name]


# A whole method; a test's body changes one part of it.
_MODULE = '''
from dataclasses import dataclass
import torch
import sae_lens_classif as slc

@dataclass
class Axes(slc.ConceptMethod, name="axes"):
    """The first coordinates."""
    n: int

    @classmethod
    def fit(cls, task):
        return cls(task.n_concepts)

    def encode(self, hidden):
        return hidden[:, : self.n].clone()

    def decode(self, concepts):
        return torch.nn.functional.pad(concepts, (0, 32 - self.n))
'''


# --- all methods ---


def test_every_method_has_a_row_with_numbers_of_both_seeds(all_methods: Finished) -> None:
    methods = methods_of(all_methods.folder)
    assert list(methods) == METHODS
    for name, row in methods.items():
        assert row["seeds"] == list(SEEDS)
        assert row["title"] == BUILT_IN[name].title
        recovered = row["estimates"]["recovery_accuracy"]
        assert len(recovered["by_seed"]) == 2 and 0 <= recovered["mean"] <= 1
        low, high = recovered["ci95"]
        assert low <= high
        assert (row["differences"] == {}) == (name == "classifsae")
    assert read(all_methods.folder / "comparison.json")["n_test_texts"] == 90
    # The run's own ClassifSAE is not fitted by `compare`.
    assert {path.parent.name for path in all_methods.folder.glob("methods/*/seed-0")} == {*METHODS} - {"classifsae"}
    assert (all_methods.folder / "saes" / "classifsae" / "cfg.json").is_file()
    assert not [path for path in all_methods.folder.rglob("*") if "partial" in path.name or ".old" in path.name]


def test_the_numbers_are_the_means_of_what_the_evaluations_of_the_seeds_found(all_methods: Finished) -> None:
    for name, row in methods_of(all_methods.folder).items():
        folders = [all_methods.folder / "evals" / name / f"seed-{seed}" for seed in SEEDS]
        if name == "classifsae":
            folders[0] = folders[0].parent
        for evaluation, measure in (
            ("completeness", "recovery_accuracy"),
            ("completeness", "max_activation_rate"),
            ("causality", "conditional_tvd"),
            ("interpretability", "c_npmi"),
        ):
            values = [read(folder / f"{evaluation}.json")["eval_result_metrics"][measure] for folder in folders]
            assert row["estimates"][measure]["by_seed"] == values, (name, measure)
            assert row["estimates"][measure]["mean"] == pytest.approx(statistics.fmean(values), nan_ok=False)


def test_a_difference_from_classifsae_pairs_the_resampled_texts(
    all_methods: Finished, options: tuple[str, ...]
) -> None:
    """With one seed: quantiles of the differences of what the files of the evaluations hold."""
    folder = all_methods.folder
    alone = folder.parent / "one_seed"
    shutil.copytree(folder, alone)
    methods = finished_comparing(alone, "--compare.seeds", "[0]", "--compare.methods", "[classifsae,ica]")
    name = "recovery_accuracy"
    base_values, values = (
        load_file(alone / "evals" / part / "completeness.safetensors")[name].numpy()
        for part in ("classifsae", "ica/seed-0")
    )
    difference = methods["ica"]["differences"][name]
    assert difference["ci95"] == pytest.approx(np.quantile(values - base_values, [0.025, 0.975]).tolist())
    own, reference = (methods[part]["estimates"][name] for part in ("ica", "classifsae"))
    assert difference["mean"] == pytest.approx(own["mean"] - reference["mean"])
    beyond = min(np.count_nonzero(values <= base_values), np.count_nonzero(values >= base_values))
    assert difference["p_value"] == difference["p_holm"] == pytest.approx(min(1, 2 * (1 + beyond) / 21))
    assert not difference["is_real"], "20 resamplings tell no difference at 5 %"
    assert "20 resamplings are too few" in (alone / "comparison.md").read_text(encoding="utf-8")
    assert own["ci95"] == pytest.approx(np.quantile(values, [0.025, 0.975]).tolist())


def test_the_table_is_printed_and_written_for_readers_and_papers(all_methods: Finished) -> None:
    markdown = (all_methods.folder / "comparison.md").read_text(encoding="utf-8")
    latex = (all_methods.folder / "comparison.tex").read_text(encoding="utf-8")
    for name in METHODS:
        title = BUILT_IN[name].title
        assert re.search(rf"^\| {re.escape(title)} \|", markdown, re.MULTILINE)
        assert re.search(rf"^{re.escape(title)} & .* \\\\$", latex, re.MULTILINE)
        assert title in all_methods.stdout
    assert "over 2 seeds and the 90 test texts" in markdown
    assert str(all_methods.folder) in all_methods.stdout
    assert len([line for line in latex.splitlines() if line.endswith(r"\\")]) == 1 + len(METHODS)


def test_every_method_is_in_the_summary_with_the_numbers_of_the_first_seed(all_methods: Finished) -> None:
    summary = read(all_methods.folder / "summary.json")
    assert set(summary["methods"]) == set(METHODS)
    for name, row in methods_of(all_methods.folder).items():
        for measure in ("recovery_accuracy", "conditional_tvd", "concept_sim"):
            assert summary["methods"][name][measure] == row["estimates"][measure]["by_seed"][0], (name, measure)


def test_no_text_is_in_any_table(all_methods: Finished, test_data: TextData, train_data: TextData) -> None:
    files = [*all_methods.folder.glob("comparison.*"), *all_methods.folder.rglob("*.json")]
    written = "".join(path.read_text(encoding="utf-8") for path in files)
    assert not [text for text in (*test_data.texts, *train_data.texts) if text in written]


def test_figures_of_each_method_and_of_all_together_are_drawn_once_they_are_asked_for(run: Path) -> None:
    chosen = ["classifsae", "concept_shap", "random_directions"]
    finished_comparing(run, "--evaluate.figures", "true", "--compare.methods", f"[{','.join(chosen)}]")
    figures = [*(f"{name}/{kind}" for name in chosen for kind in ("concept_map", "word_clouds"))]
    figures += ["activation_rates", "sentence_sim", "ablation", "tradeoffs"]
    for figure in figures:
        assert (run / "figures" / f"{figure}.png").read_bytes().startswith(b"\x89PNG"), figure
        assert "<svg" in (run / "figures" / f"{figure}.svg").read_text(encoding="utf-8"), figure
    svg = (run / "figures" / "activation_rates.svg").read_text(encoding="utf-8")
    assert all(BUILT_IN[name].title in svg for name in chosen)


# --- what is reused ---


def test_a_second_call_reuses_everything_and_says_the_same(run: Path, all_methods: Finished) -> None:
    before = {part: state_of(run / part) for part in ("methods", "evals", "saes", "activations", "embeddings")}
    tables = {name: (run / name).read_bytes() for name in ("comparison.json", "comparison.md", "comparison.tex")}
    summary = (run / "summary.json").read_bytes()
    ended = compare(run)
    assert ended.code == 0, ended.stderr
    assert {part: state_of(run / part) for part in before} == before
    assert {name: (run / name).read_bytes() for name in tables} == tables
    assert (run / "summary.json").read_bytes() == summary
    assert ended.stdout.split("Everything is in")[0] == all_methods.stdout.split("Everything is in")[0]


def test_a_run_that_was_killed_half_way_does_again_only_what_is_missing(run: Path) -> None:
    expected, before = methods_of(run), state_of(run / "methods")
    shutil.rmtree(run / "methods" / "topk_sae" / "seed-1")
    shutil.rmtree(run / "methods" / "hi_concept")
    shutil.rmtree(run / "evals" / "ica" / "seed-1")
    leftover = run / "methods" / "topk_sae" / f"seed-1.{ended_process()}.partial"
    leftover.mkdir()
    (leftover / "method.json").write_text("{", encoding="utf-8")
    (run / "comparison.json").unlink()
    assert without_times(finished_comparing(run)) == without_times(expected)
    after = state_of(run / "methods")
    missing = ("topk_sae/seed-1/", "hi_concept/")
    assert {name for name in before if before[name] != after[name]} == {
        name for name in before if name.startswith(missing)
    }
    assert after.keys() == before.keys(), "what the killed attempt left is gone"
    redone = {name for name in missing for file in before if file.startswith(name) and file.endswith("method.json")}
    assert redone == set(missing)
    for name in before:
        if name.startswith(missing) and not name.endswith("fit.json"):
            assert after[name][0] == before[name][0], "the same seed gives the same bytes"


def test_a_run_with_other_settings_that_was_killed_goes_on_with_them(begun: Path) -> None:
    options = ("--data.max_test_texts", "20", "--compare.methods", "[random_directions]", "--compare.seeds", "[0]")
    with (
        mock.patch("sae_lens_classif.runs.compare._fit_and_measure", side_effect=KeyboardInterrupt),
        contextlib.suppress(KeyboardInterrupt),
    ):
        compare(begun, "--overwrite", *options)
    finished_comparing(begun, *options)
    assert len(ActivationStore(begun / "activations" / "test")) == 20


def test_a_method_that_is_added_later_is_fitted_alone(begun: Path) -> None:
    before = state_of(begun / "methods")
    methods = finished_comparing(begun, "--compare.methods", "[random_directions,ica]", "--compare.seeds", "[0]")
    assert list(methods) == ["random_directions", "ica"]
    after = state_of(begun / "methods")
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"ica"}
    assert set(read(begun / "summary.json")["methods"]) == {"random_directions", "ica"}
    assert methods["ica"]["differences"] == {}, "there is no ClassifSAE to differ from"


def test_a_run_folder_is_compared_the_same_from_another_folder(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, tables = state_of(run / "methods"), (run / "comparison.json").read_bytes()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    finished_comparing(Path("..") / "run", "--compare.methods", f"[{','.join(METHODS)}]")
    assert (state_of(run / "methods"), (run / "comparison.json").read_bytes()) == (before, tables)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("setting", "value", "methods"),
    [
        ("sae.k", 5, METHODS),
        ("train.lr", "1e-3", METHODS),
        ("sae.n_concepts", 4, METHODS),
        ("baselines.ica_max_iter", 77, ["ica"]),
        ("baselines.epochs", 3, ["concept_shap"]),
        ("sae.n_concepts", 5, ["random_directions"]),
    ],
)
def test_changed_settings_are_refused_by_name_and_nothing_is_touched(
    setting: str, value: object, methods: list[str], run: Path
) -> None:
    before = state_of(run)
    ended = compare(run, f"--{setting}", value, "--compare.methods", f"[{','.join(methods)}]")
    refused(ended, setting, "--overwrite")
    assert state_of(run) == before


def test_changed_settings_are_refused_before_any_fit(begun: Path) -> None:
    changed = ("--compare.methods", "[ica,random_directions]", "--compare.seeds", "[0]", "--sae.n_concepts", 5)
    refused(compare(begun, *changed), "random_directions", "n_concepts", "--overwrite")
    assert not (begun / "methods" / "ica").exists()


def test_with_overwrite_changed_settings_are_taken_and_what_depends_on_them_is_made_anew(run: Path) -> None:
    expected = methods_of(run)
    changed = ("--sae.n_concepts", 4, "--compare.methods", "[classifsae,ica,random_directions]")
    methods = finished_comparing(run, *changed, "--overwrite")
    assert list(methods) == ["classifsae", "ica", "random_directions"]
    for name, row in methods.items():
        assert row["estimates"] != expected[name]["estimates"]
    for seed in SEEDS:
        directions = load_method(run / "methods" / "ica" / f"seed-{seed}").directions()
        assert directions is not None and directions.shape == (4, 32)
    assert load_config(run / "config.yaml").sae.n_concepts == 4
    again = state_of(run / "methods")
    assert finished_comparing(run) == methods, "without --overwrite the new settings are the folder's own"
    assert state_of(run / "methods") == again


# --- mistakes of the user ---


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ("[classifsae,topk_sea]", ("there is no concept method 'topk_sea'", "did you mean 'topk_sae'")),
        ("[classifsae,no_such_module:Mine]", ("no_such_module:Mine", "cannot be imported")),
        ("[classifsae,json:JSONDecoder]", ("json has no ConceptMethod 'JSONDecoder'",)),
        ("[classifsae,sae:nowhere]", ("there is no folder 'nowhere'",)),
        ("[]", ("compare.methods is empty",)),
        ("[ica,ica]", ("compare.methods", "each once")),
    ],
)
def test_a_method_that_does_not_exist_is_refused_before_anything_is_made(
    methods: str, words: tuple[str, ...], options: tuple[str, ...], tmp_path: Path
) -> None:
    ended = compare(tmp_path / "new", *options, "--compare.methods", methods)
    refused(ended, *words)
    assert ended.stderr.count("\n") == 1
    assert not list(tmp_path.glob("new/*"))


@pytest.mark.parametrize("error", ["def broken(:", "1 / 0", "import no_such_module_at_all"])
def test_a_module_of_the_user_s_that_cannot_be_imported_is_refused(
    error: str, module: Callable[[str, str], str], begun: Path
) -> None:
    name = module("broken_module_of_mine", f"\n{error}\n")
    before = state_of(begun)
    refused(compare(begun, "--compare.methods", f"[ica,{name}:Axes]"), name, "cannot be imported")
    assert state_of(begun) == before


def test_fewer_training_texts_than_concepts_are_refused_before_any_work(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    few = ("--data.max_train_texts", 5)
    refused(compare(tmp_path / "new", *options, *few), "5 training texts", "6 concepts", "sae.n_concepts")
    assert not list(tmp_path.glob("new/*")), "not even hidden states"


def test_fewer_training_texts_than_concepts_are_refused_before_a_classifier_is_trained(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    scratch = ("--classifier.model", "null", "--finetune.base_model", "scratch", "--finetune.max_steps", "1")
    size = ("--finetune.n_layers", 1, "--finetune.d_model", 8, "--finetune.n_heads", 1)
    own = ("--prompt.template", "{text}\n\nTopic:", "--prompt.label_word", "<|{id}|>")
    ended = compare(tmp_path / "new", *options, *scratch, *size, *own, "--data.max_train_texts", 5)
    refused(ended, "5 training texts", "6 concepts")
    assert not (tmp_path / "new" / "classifier").exists()


def test_a_class_that_is_never_predicted_is_named_and_stops_no_method(
    options: tuple[str, ...],
    cached: Path,
    train_data: TextData,
    test_data: TextData,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    predicted = ActivationStore(cached / "activations" / "train").read("predicted").numpy()
    kept = np.flatnonzero(predicted != 2)
    texts = tuple(train_data.texts[row] for row in kept)
    source = write_texts(
        tmp_path / "texts", train=TextData(texts, train_data.labels[kept], train_data.class_names), test=test_data
    )
    ended = compare(tmp_path / "new", *options, "--data.source", source)
    assert ended.code == 0, ended.stderr
    assert f"predicts 'money' for none of the {len(kept)} training texts" in caplog.text
    methods = methods_of(tmp_path / "new")
    assert set(methods) == set(CompareConfig().methods)
    for method in methods.values():
        assert not [note for note in method["notes"] if "failed" in note]
        assert math.isfinite(method["estimates"]["scaled_recovery"]["mean"])


def write_guest(folder: Path, d_in: int = 32, d_sae: int = 24, hook: str | None = None) -> Path:
    cfg = StandardSAEConfig(d_in=d_in, d_sae=d_sae)
    cfg.metadata.hook_name = hook
    sae = StandardSAE(cfg)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for values in sae.parameters():
            values.copy_(torch.randn(values.shape, generator=generator) / 3)
    sae.save_model(folder)
    return folder


@pytest.mark.parametrize(
    ("d_in", "d_sae", "words"),
    [(16, 24, ("d_in 16", "hidden states have 32")), (32, 5, ("5 latents", "6 concepts"))],
)
def test_a_guest_sae_that_does_not_fit_is_refused_before_any_fit(
    d_in: int, d_sae: int, words: tuple[str, ...], begun: Path, tmp_path: Path
) -> None:
    guest = write_guest(tmp_path / "guest", d_in, d_sae)
    before = state_of(begun)
    refused(compare(begun, "--compare.methods", f"[ica,sae:{guest}]"), *words)
    assert state_of(begun) == before


def test_two_methods_of_one_name_are_refused_since_one_would_take_the_other_s_place(
    begun: Path, tmp_path: Path
) -> None:
    one, other = write_guest(tmp_path / "one" / "x" / "sae"), write_guest(tmp_path / "two" / "x" / "sae", d_sae=30)
    refused(compare(begun, "--compare.methods", f"[sae:{one},sae:{other}]", "--compare.seeds", "[0]"), "sae_x-sae")
    assert not (begun / "methods" / "sae_x-sae").exists()


def test_a_class_that_takes_over_its_parent_s_name_is_refused(module: Callable[[str, str], str], begun: Path) -> None:
    """It would be read again as its parent."""
    name = module("heir_of_mine", "\n@dataclass\nclass Heir(slc.SAEProbeConcepts):\n    pass\n")
    refused(compare(begun, "--compare.methods", f"[{name}:Heir]"), "Heir", "name")


@pytest.mark.parametrize("taken", ["ica", "sae_probe", "topk_sae"])
def test_a_class_of_a_name_that_is_taken_is_refused(taken: str, module: Callable[[str, str], str], begun: Path) -> None:
    """What was saved by the other would be read by this one."""
    name = module("taken_of_mine", f'\n@dataclass\nclass Taken(Axes, name="{taken}"):\n    pass\n')
    refused(compare(begun, "--compare.methods", f"[{name}:Taken]"), "Taken", "name")


# --- methods beside the built-in ones ---


def test_a_guest_sae_is_compared_like_the_others_and_its_hook_is_noted(begun: Path, tmp_path: Path) -> None:
    guest = write_guest(tmp_path / "their" / "guest", hook="blocks.1.hook_mlp_out")
    options = ("--compare.methods", f"[random_directions,sae:{guest}]", "--compare.seeds", "[0]")
    methods = finished_comparing(begun, *options)
    row = methods["sae_their-guest"]
    assert row["title"] == "standard SAE their-guest + probe"
    assert any("trained at blocks.1.hook_mlp_out" in note for note in row["notes"])
    assert row["estimates"]["recovery_accuracy"]["mean"] is not None
    assert "standard SAE their-guest + probe" in (begun / "comparison.tex").read_text(encoding="utf-8")
    before = state_of(begun / "methods")
    assert finished_comparing(begun) == methods
    assert state_of(begun / "methods") == before
    write_guest(guest, d_sae=25)
    refused(compare(begun), "sae_their-guest")
    assert state_of(begun / "methods") == before


def test_a_method_of_the_user_s_own_is_compared_saved_and_reused(
    module: Callable[[str, str], str], begun: Path
) -> None:
    name = module("axes_of_mine", "")
    options = ("--compare.methods", f"[random_directions,{name}:Axes]", "--compare.seeds", "[0]")
    methods = finished_comparing(begun, *options)
    assert methods["axes"]["estimates"]["recovery_accuracy"]["mean"] is not None
    assert methods["axes"]["notes"], "every coordinate is active on every text"
    assert read(begun / "summary.json")["methods"]["axes"]["max_activation_rate"] == 1
    loaded = load_method(begun / "methods" / "axes" / "seed-0")
    assert loaded.encode(torch.arange(64.0).reshape(2, 32)).tolist() == [[0, 1, 2, 3, 4, 5], [32, 33, 34, 35, 36, 37]]
    before = state_of(begun / "methods")
    assert finished_comparing(begun, "--allow-code", f"{name}:Axes") == methods
    assert state_of(begun / "methods") == before


def test_the_example_of_a_method_of_one_s_own_is_compared(module: Callable[[str, str], str], begun: Path) -> None:
    example = (Path(__file__).parents[2] / "examples" / "own_method.py").read_text(encoding="utf-8")
    assert len(example.splitlines()) < 40
    name = module("own_method", "")
    Path(f"{name}.py").write_text(example, encoding="utf-8")
    methods = finished_comparing(begun, "--compare.methods", f"[{name}:KMeansConcepts]", "--compare.seeds", "[0]")
    # A text is nearest to one centre alone.
    assert methods["kmeans"]["estimates"]["mean_activation_rate"]["mean"] == pytest.approx(1 / 6)


def test_a_changed_module_of_the_user_s_is_not_taken_for_the_one_that_was_fitted(
    module: Callable[[str, str], str], begun: Path
) -> None:
    name = module("changing_of_mine", "")
    options = ("--compare.methods", f"[{name}:Axes]", "--compare.seeds", "[0]")
    finished_comparing(begun, *options)
    module(name, "\n# a change\n")
    refused(compare(begun, "--allow-code", f"{name}:Axes"), "axes", "--overwrite")
    finished_comparing(begun, "--allow-code", f"{name}:Axes", "--overwrite")


_BAD = {
    "a fit that raises": (
        "    @classmethod\n    def fit(cls, task):\n        raise RuntimeError('no\\nluck')\n",
        "failed: RuntimeError: no luck",
    ),
    "activations of NaN": (
        "    def encode(self, hidden):\n        return hidden[:, :6] * float('nan')\n",
        "not finite",
    ),
    "reconstructions of NaN": (
        "    def decode(self, concepts):\n        return torch.full((len(concepts), 32), float('nan'))\n",
        "not finite",
    ),
    "an encode that raises": ("    def encode(self, hidden):\n        raise KeyError('lost')\n", "KeyError"),
    "a decode that raises": ("    def decode(self, concepts):\n        raise KeyError('lost')\n", "KeyError"),
    "activations of another shape": ("    def encode(self, hidden):\n        return hidden[:, 0]\n", "failed"),
    "values that JSON cannot hold": (
        "    @classmethod\n    def fit(cls, task):\n        return cls({1, 2})\n",
        "failed: TypeError",
    ),
}


@pytest.mark.parametrize("kind", list(_BAD))
def test_a_method_that_fails_stays_in_the_tables_with_its_note_while_the_others_are_finished(
    kind: str, module: Callable[[str, str], str], begun: Path
) -> None:
    body, words = _BAD[kind]
    name = module("bad_of_mine", f'\n@dataclass\nclass Bad(Axes, name="bad"):\n    n: object\n{body}')
    options = ("--compare.methods", f"[{name}:Bad,ica]", "--compare.seeds", "[0]")
    ended = compare(begun, *options)
    assert ended.code == 0, ended.stderr.splitlines()[-1]
    methods = methods_of(begun)
    assert methods["ica"]["estimates"]["recovery_accuracy"]["mean"] is not None
    (note,) = [note for note in methods["bad"]["notes"] if words in " ".join(note.split())]
    assert {estimate["mean"] for estimate in methods["bad"]["estimates"].values()} == {None}
    for table in ("comparison.md", "comparison.tex"):
        text = (begun / table).read_text(encoding="utf-8")
        (row,) = re.findall(r"^\|? ?bad .*$", text, re.MULTILINE)
        assert words in text and "nan" not in row.lower()
    assert " ".join(note.split())[:40] in " ".join(ended.stdout.split())


_PLAIN = """
class Plain(slc.ConceptMethod, name="plain"):
    @classmethod
    def fit(cls, task):
        return cls()

    def encode(self, hidden):
        return hidden[:, :6]

    def decode(self, concepts):
        return torch.nn.functional.pad(concepts, (0, 26))
"""


def test_a_method_that_could_not_be_saved_is_refused_before_any_fit(
    module: Callable[[str, str], str], begun: Path
) -> None:
    name = module("plain_of_mine", _PLAIN)
    before = state_of(begun)
    refused(compare(begun, "--compare.methods", f"[ica,{name}:Plain]"), "Plain", "put @dataclass above it")
    assert state_of(begun) == before


def test_concepts_that_never_fire_are_counted_and_leave_no_number_behind(
    module: Callable[[str, str], str], begun: Path
) -> None:
    body = "    def encode(self, hidden):\n        return torch.zeros(len(hidden), 6)\n"
    name = module("silent_of_mine", f'\n@dataclass\nclass Silent(Axes, name="silent"):\n{body}')
    options = ("--compare.methods", f"[{name}:Silent]", "--compare.seeds", "[0]")
    methods = finished_comparing(begun, *options, "--evaluate.figures", "true")
    row = methods["silent"]
    assert "6 concepts never active on a test text" in row["notes"]
    assert any("no concept fires on any test text" in note for note in row["notes"])
    assert row["estimates"]["mean_activation_rate"]["mean"] == 0
    assert row["estimates"]["conditional_tvd"] == {"mean": None, "ci95": None, "by_seed": [None]}
    assert (begun / "figures" / "silent" / "concept_map.png").is_file()
    markdown = (begun / "comparison.md").read_text(encoding="utf-8")
    assert finished_comparing(begun, "--allow-code", f"{name}:Silent", "--evaluate.figures", "false") == methods
    assert (begun / "comparison.md").read_text(encoding="utf-8") == markdown


def test_a_classifsae_of_other_seeds_alone_is_in_the_summary_too(options: tuple[str, ...], tmp_path: Path) -> None:
    methods = finished_comparing(
        tmp_path / "new", *options, "--compare.methods", "[classifsae,ica]", "--compare.seeds", "[3]"
    )
    summary = read(tmp_path / "new" / "summary.json")["methods"]
    assert set(summary) == {"classifsae", "ica"}
    for name, row in methods.items():
        assert summary[name]["recovery_accuracy"] == row["estimates"]["recovery_accuracy"]["mean"]


# --- tuning ---

_TUNED = """
@dataclass
class Settings:
    start: int = 30

@dataclass
class Coordinates(
    slc.ConceptMethod, name="coordinates", settings=Settings, trains_sae=False, tune={"start": (0, 6, 12, 18, 99)}
):
    n: int
    start: int

    @classmethod
    def fit(cls, task):
        with open("fits.txt", "a") as file:
            file.write(f"{task.settings.start} {len(task.store)} {len(task.hidden)}\\n")
        if task.settings.start == 99:
            raise RuntimeError("no such coordinates")
        return cls(task.n_concepts, task.settings.start)

    def encode(self, hidden):
        return hidden.roll(-self.start, dims=1)[:, : self.n].clone()

    def decode(self, concepts):
        return torch.nn.functional.pad(concepts, (0, 32 - self.n)).roll(self.start, dims=1)
"""


@pytest.fixture
def tuned(module: Callable[[str, str], str], begun: Path) -> tuple[Path, tuple[str, ...]]:
    """A run folder, and the options that tune a method of the user's and one that has nothing to tune."""
    name = module("tuned_of_mine", _TUNED)
    methods = f"[{name}:Coordinates,random_directions]"
    return begun, ("--compare.methods", methods, "--compare.seeds", "[0]", "--compare.tune", "6")


def _fits() -> list[list[int]]:
    """Of each fit: where its coordinates start, texts of its store, hidden states."""
    return [list(map(int, line.split())) for line in Path("fits.txt").read_text().splitlines()]


def test_settings_are_chosen_on_held_out_training_texts_and_the_best_are_fitted_to_all(
    tuned: tuple[Path, tuple[str, ...]], classifier: TextClassifier, caplog: pytest.LogCaptureFixture
) -> None:
    run, options = tuned
    caplog.set_level(logging.INFO)
    ended = compare(run, *options)
    assert ended.code == 0, ended.stderr
    assert "6 trials first, then 1 fits with the best settings" in caplog.text
    states = ActivationStore(run / "activations" / "train")
    n_held_out = len(states) // 5
    *trials, final = _fits()
    assert trials[0][0] == 30, "its own settings first"
    assert sorted(start for start, *_ in trials) == [0, 6, 12, 18, 30, 99]
    assert all(counts == [len(states) - n_held_out] * 2 for _, *counts in trials)

    kept = read(run / "methods" / "coordinates" / "seed-0" / "trials.json")
    rows = states.training_rows(0.2, 0).held_out(np.arange(n_held_out))
    hidden, predicted = states.rows("hidden", rows).float(), states.rows("predicted", rows)
    found = {trial["settings"]["start"]: trial for trial in kept["trials"]}
    for start in (0, 6, 12, 18, 30):
        mask = torch.zeros(32)
        mask[[(start + number) % 32 for number in range(6)]] = 1
        through = hidden * mask * (hidden.norm(dim=1) / (hidden * mask).norm(dim=1))[:, None]
        stays = [
            float((classifier.logits_from(given).argmax(dim=1) == predicted).double().mean())
            for given in (through, torch.zeros_like(hidden), hidden)
        ]
        assert found[start]["scaled_recovery"] == pytest.approx((stays[0] - stays[1]) / (stays[2] - stays[1]))
    assert "no such coordinates" in found[99]["failed"] and found[99]["scaled_recovery"] is None
    working = [trial for start, trial in found.items() if start != 99]
    most = max(trial["scaled_recovery"] for trial in working)
    close = [trial for trial in working if trial["scaled_recovery"] >= most - 0.01]
    assert kept["chosen"] == max(close, key=lambda trial: trial["influence"])["settings"]
    assert final == [kept["chosen"]["start"], len(states), len(states)]

    methods = methods_of(run)
    words = f"tuned: start = {final[0]} (best of 6 settings, of which 1 failed)"
    assert words in methods["coordinates"]["notes"]
    assert "not tuned: no setting of it is declared for that" in methods["random_directions"]["notes"]
    assert words in (run / "comparison.md").read_text(encoding="utf-8")


def test_a_tuning_that_was_killed_goes_on_and_what_is_done_is_not_done_again(
    tuned: tuple[Path, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run, options = tuned
    caplog.set_level(logging.INFO)
    place = "sae_lens_classif.runs.tuning.write_json"
    written: list[Path] = []

    def kill_at_the_third(path: Path, content: Any) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write_json(path, content)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(place, kill_at_the_third)
        compare(run, *options)
    assert [path.name for path in written] == ["seed-0.trials.json"] * 2
    tried = [start for start, *_ in _fits()][:2]
    ended = compare(run, *options)
    assert ended.code == 0 and "4 trials first" in caplog.text, ended.stderr
    again = [start for start, *_ in _fits()][3:]  # the third is lost
    assert len(again) == 4 + 1 and not set(tried) & set(again[:-1])
    assert not (run / "methods" / "coordinates" / "seed-0.trials.json").exists()
    before, methods = state_of(run / "methods"), methods_of(run)
    caplog.clear()
    ended = compare(run, *options)
    assert ended.code == 0 and "trials first" not in caplog.text
    assert methods_of(run) == methods and state_of(run / "methods") == before


def test_a_tuned_fit_is_not_taken_for_one_that_is_not_nor_for_one_of_another_budget(
    tuned: tuple[Path, tuple[str, ...]],
) -> None:
    run, options = tuned
    finished_comparing(run, *options[:-2])
    refused(compare(run, *options), "coordinates", "tuned = None", "--overwrite")
    finished_comparing(run, *options, "--overwrite")
    n_fits = len(_fits())
    refused(compare(run, *options[:-2], "--compare.tune", "0"), "coordinates", "tuned = ", "--overwrite")
    refused(compare(run, *options[:-2], "--compare.tune", "3"), "coordinates", "tuned.tune = 6", "--overwrite")
    assert len(_fits()) == n_fits


def test_a_grid_of_what_is_no_setting_is_refused_before_any_work(
    module: Callable[[str, str], str], begun: Path
) -> None:
    name = module("wrong_of_mine", _TUNED.replace('tune={"start"', 'tune={"strat"'))
    before = state_of(begun)
    options = ("--compare.methods", f"[{name}:Coordinates]", "--compare.tune", "2")
    refused(compare(begun, *options), "'strat'", "did you mean 'start'")
    assert state_of(begun) == before
    refused(compare(begun, "--compare.tune", "-1"), "compare.tune is -1", "at least 0")


def test_a_tuned_classifsae_is_none_of_the_run_s_own(begun: Path) -> None:
    methods = finished_comparing(
        begun, "--compare.methods", "[classifsae,ica]", "--compare.seeds", "[0]", "--compare.tune", "3"
    )
    kept = read(begun / "methods" / "classifsae" / "seed-0" / "trials.json")
    own = {"sae.balance_coefficient": 0.1, "sae.model_coefficient": 1.0, "train.lr": 5e-3}
    assert len(kept["trials"]) == 3 and kept["trials"][0]["settings"] == own
    assert not (begun / "saes").exists()
    chosen = ", ".join(f"{name} = {value}" for name, value in kept["chosen"].items())
    assert methods["classifsae"]["notes"][0] == f"tuned: {chosen} (best of 3 settings)"
    assert methods["ica"]["notes"][0].startswith("not tuned")


def test_the_rows_of_the_benchmarks_are_what_compare_found(demo_folder: Path) -> None:
    run = demo_folder / "runs" / "demo"
    script = Path(__file__).parents[2] / "benchmarks" / "tables.py"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(run)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for row in read_methods(RunFolder.open(run)).methods.values():
        mean = row.estimates["scaled_recovery"].mean
        assert mean is not None
        assert re.search(rf"\| {re.escape(row.title)} \| {100 * mean:.1f} ", done.stdout), done.stdout
