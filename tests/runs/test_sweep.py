"""``sweep``: one run a cell of a grid, what is done is reused, what cannot be is refused before anything is trained.

The environment variable KILLS is how many times a sweep is killed while it works (default 3).
"""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import yaml
from matplotlib.figure import Figure
from safetensors.torch import load_file

import sae_lens_classif as slc
from sae_lens_classif.checksums import read_json
from sae_lens_classif.cli.parser import parse
from sae_lens_classif.config.methods import SweepConfig
from sae_lens_classif.config.run import RunConfig, SAESettings, TrainConfig
from sae_lens_classif.config.yaml import load_config
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.matching import ConceptSet, match
from sae_lens_classif.hooks.batching import states_of_inputs
from sae_lens_classif.hooks.load import load_classifier
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.runs.sweep import cell_config, sweep_step
from sae_lens_classif.saes.classif_sae import ClassifSAE
from sae_lens_classif.store import caching
from sae_lens_classif.store.store import ActivationStore, RowSplit
from sae_lens_classif.store.writer import StoreWriter
from tests.tiny_run import (
    Snapshot,
    Tiny,
    assert_refused_at_once,
    change_sae,
    cli,
    contents,
    make_tiny,
    snapshot,
    write_csv,
)

_KILLS = int(os.environ.get("KILLS", "3"))
_PATIENCE = 180.0  # seconds that a process may take on a busy machine
_MEASURES = (
    "recovery_accuracy",
    "bottleneck_accuracy",
    "mean_activation_rate",
    "max_activation_rate",
    "conditional_tvd",
    "conditional_label_flip_rate",
    "conditional_accuracy_change",
    "concept_sim",
)
_OWN = ("saes/**/*", "evals/**/*", "activations/**/*", "figures/**/*", "summary.json")
# Evaluations have an id and a time of their own; settings name the folder of the texts.
_SAME_BYTES = ("**/*.safetensors", "**/summary.json", "sweep/sweep.*", "**/training_log.jsonl", "**/cfg.json")


@pytest.fixture(scope="module")
def tiny(
    tmp_path_factory: pytest.TempPathFactory, classifier_folder: Path, train_data: TextData, test_data: TextData
) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("sweep") / "tiny", classifier_folder, train_data, test_data)


@pytest.fixture
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves half of a small sweep's time."""
    monkeypatch.setattr("sae_lens_classif.runs.sweep.sweep_figure", lambda *_: Figure())


class Swept(NamedTuple):
    """A run of its own, and then a sweep of two gammas and two seeds in it."""

    run: Path
    before: Snapshot
    shown: str


_ALL = ("--evaluate.evals", "[completeness, causality, interpretability, sufficiency]")
_GAMMA_AND_SEED = ("--grid", "sae.gamma=0.05,0.2", "--grid", "train.seed=0,1", "--evaluate.n_bootstrap", 400, *_ALL)
_CELLS = [{"sae.gamma": gamma, "train.seed": seed} for gamma in (0.05, 0.2) for seed in (0, 1)]


@pytest.fixture(scope="module")
def swept(tiny: Tiny) -> Swept:
    tiny.command("run", "main", "--evaluate.figures", "true", *_ALL)
    before = snapshot(tiny.run("main"), *_OWN)
    return Swept(tiny.run("main"), before, tiny.command("sweep", "main", *_GAMMA_AND_SEED))


def _result(run: Path) -> dict[str, Any]:
    result: dict[str, Any] = read_json(run / "sweep" / "sweep.json")
    return result


def _rows(run: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _result(run)["rows"]
    return rows


def _cells(run: Path) -> dict[Path, RunConfig]:
    """The cells' folders, in the order of the rows, with the settings noted in them."""
    names = [name for row in _rows(run) for name in row["folders"]]
    return {run / "sweep" / name: load_config(run / "sweep" / name / "config.yaml") for name in names}


def _entry(cell: Path) -> dict[str, Any]:
    entry: dict[str, Any] = read_json(cell / "summary.json")["methods"]["classifsae"]
    return entry


def _resamples(cell: Path) -> dict[str, torch.Tensor]:
    return {
        name: values
        for path in (cell / "evals" / "classifsae").glob("*.safetensors")
        for name, values in load_file(path).items()
    }


# --- What a sweep makes


def test_every_cell_has_a_folder_of_its_own_whose_settings_are_the_run_s_but_for_the_swept_ones(swept: Swept) -> None:
    base = load_config(swept.run / "config.yaml")
    cells = _cells(swept.run)
    assert len(cells) == len(_CELLS)
    for cell, (folder, cfg) in zip(_CELLS, cells.items(), strict=True):
        assert (folder / "saes" / "classifsae" / "sae_weights.safetensors").is_file()
        sae = replace(base.sae, gamma=cell["sae.gamma"])
        train = replace(base.train, seed=int(cell["train.seed"]))
        assert cfg == replace(base, sae=sae, train=train, sweep=SweepConfig())
    weights = {(folder / "saes/classifsae/sae_weights.safetensors").read_bytes() for folder in cells}
    assert len(weights) == len(_CELLS), "each was trained with its own settings"


def test_seeds_are_taken_together_with_the_numbers_of_the_cells_own_summaries(swept: Swept) -> None:
    rows = _rows(swept.run)
    assert [row["cell"] for row in rows] == [{"sae.gamma": 0.05}, {"sae.gamma": 0.2}]
    assert [row["seeds"] for row in rows] == [[0, 1], [0, 1]]
    assert _result(swept.run)["grid"] == {"sae.gamma": [0.05, 0.2], "train.seed": [0, 1]}
    for row in rows:
        folders = [swept.run / "sweep" / name for name in row["folders"]]
        seeds = [load_config(folder / "config.yaml").train.seed for folder in folders]
        assert seeds == row["seeds"]
        assert row["settings_sha256"] == [_entry(folder)["settings_sha256"] for folder in folders]
        for measure in _MEASURES:
            values = [_entry(folder)[measure] for folder in folders]
            assert row[measure]["by_seed"] == values, measure
            assert row[measure]["mean"] == pytest.approx(sum(values) / 2, rel=1e-12), measure


def test_what_comes_back_is_what_stability_says_of_two_seeds(swept: Swept) -> None:
    for row in _rows(swept.run):
        for number, name in enumerate(row["folders"]):
            folder = swept.run / "sweep" / name
            others = [swept.run / "sweep" / other for other in row["folders"] if other != name]
            sets = {path: _concept_set(path) for path in (folder, *others)}
            by_hand = 0.0
            total = sum(concept["influence"] for concept in _entry(folder)["concepts"])
            for concept in _entry(folder)["concepts"]:
                back = all(match(sets[folder], sets[other]).comes_back[concept["index"]] for other in others)
                by_hand += concept["influence"] * back / total
            assert row["comes_back"]["by_seed"][number] == pytest.approx(by_hand), name
        assert row["comes_back"]["mean"] == pytest.approx(sum(row["comes_back"]["by_seed"]) / 2)
        assert row["comes_back"]["ci95"] is None


def _concept_set(run: Path) -> ConceptSet:
    """What a cell's own SAE, read as SAELens reads it, finds in the test texts of the run."""
    sae = ClassifSAE.load_from_disk(run / "saes" / "classifsae")
    hidden = ActivationStore(run.parents[1] / "activations" / "test").read("hidden").float()
    with torch.no_grad():
        return ConceptSet.of(sae.encode(hidden)[:, : sae.cfg.n_concepts], sae.W_dec[: sae.cfg.n_concepts].detach())


def test_the_interval_of_a_row_is_over_seeds_and_texts(swept: Swept) -> None:
    """Of two seeds, each draw of two is one of them twice or, half of the time, both."""
    for row in _rows(swept.run):
        own = [_resamples(swept.run / "sweep" / name) for name in row["folders"]]
        for measure in _MEASURES:
            first, second = (values[measure] for values in own)
            draws = torch.cat([first, second, (first + second) / 2, (first + second) / 2])
            low, high = torch.quantile(draws, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
            found_low, found_high = row[measure]["ci95"]
            assert found_low == pytest.approx(low, abs=0.12 * (high - low) + 1e-9), measure
            assert found_high == pytest.approx(high, abs=0.12 * (high - low) + 1e-9), measure


def test_the_table_and_the_screen_show_every_row(swept: Swept) -> None:
    lines = (swept.run / "sweep" / "sweep.md").read_text(encoding="utf-8").splitlines()
    rows = _rows(swept.run)
    assert len(lines) == 2 + len(rows)
    assert len({line.count("|") for line in lines}) == 1, "each line has the same columns"
    head = [word.strip() for word in lines[0].strip("|").split("|")]
    assert head[:2] == ["sae.gamma", "seeds"]
    for line, row in zip(lines[2:], rows, strict=True):
        cells = dict(zip(head, (word.strip() for word in line.strip("|").split("|")), strict=True))
        assert (cells["sae.gamma"], cells["seeds"]) == (str(row["cell"]["sae.gamma"]), "0, 1")
        for measure in head[2:]:
            if measure == "comes_back":
                assert cells[measure] == f"{row[measure]['mean']:.3f}"
                continue
            if row[measure]["mean"] is None:  # a scaled RAcc without a way from its floor to its ceiling
                assert (measure, cells[measure]) == ("scaled_recovery", "–")
                continue
            low, high = row[measure]["ci95"]
            assert cells[measure] == f"{row[measure]['mean']:.3f} ({low:.3f} … {high:.3f})"
        assert f"{100 * row['recovery_accuracy']['mean']:.1f}" in swept.shown
    assert "gamma" in swept.shown and "seeds" in swept.shown
    assert str(swept.run / "sweep") in swept.shown.replace("\n", "")


def test_the_figure_is_there_as_png_and_svg(swept: Swept) -> None:
    _assert_is_drawn(swept.run / "sweep" / "sweep")


def _assert_is_drawn(path: Path) -> None:
    assert path.with_name(path.name + ".png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert ElementTree.parse(path.with_name(path.name + ".svg")).getroot().tag.endswith("svg")


def test_the_run_s_own_results_stay_as_they_are(swept: Swept) -> None:
    assert snapshot(swept.run, *_OWN) == swept.before
    assert not list(swept.run.glob("sweep/*/activations")), "the cells read the run's own hidden states"
    assert not list(swept.run.glob("sweep/*/embeddings"))


def test_a_second_call_reuses_everything_and_says_the_same(tiny: Tiny, swept: Swept) -> None:
    cells = snapshot(swept.run, "sweep/*/**/*", "activations/**/*", "embeddings/*")
    together = contents(snapshot(swept.run, "sweep/sweep.*"))
    assert len(together) == 4
    shown = tiny.command("sweep", "main", *_GAMMA_AND_SEED)
    after = snapshot(swept.run, "sweep/*/**/*", "activations/**/*", "embeddings/*")
    noted = {name for name in cells if name.endswith(("config.yaml", "places.json"))}
    assert {name: file for name, file in after.items() if name not in noted} == {
        name: file for name, file in cells.items() if name not in noted
    }
    assert contents(after) == contents(cells)
    assert contents(snapshot(swept.run, "sweep/sweep.*")) == together
    assert shown == swept.shown


def test_without_a_grid_the_one_that_was_noted_is_swept_again(tiny: Tiny, swept: Swept) -> None:
    before = _result(swept.run)
    ended = cli("sweep", "--run", swept.run)
    assert ended.code == 0, ended.stderr
    assert _result(swept.run) == before


def test_a_cell_whose_sae_is_lost_gets_the_same_one_again_and_the_others_are_left_alone(
    tiny: Tiny, swept: Swept
) -> None:
    lost = swept.run / "sweep" / _rows(swept.run)[0]["folders"][1]
    before = snapshot(swept.run, "sweep/*/saes/**/*")
    together = contents(snapshot(swept.run, "sweep/sweep.*"))
    shutil.rmtree(lost / "saes")
    tiny.command("sweep", "main", *_GAMMA_AND_SEED)
    after = snapshot(swept.run, "sweep/*/saes/**/*")
    assert contents(after) == contents(before)
    changed = {name.split("/")[1] for name, file in after.items() if file != before[name]}
    assert changed == {lost.name}
    assert contents(snapshot(swept.run, "sweep/sweep.*")) == together


@pytest.mark.usefixtures("_undrawn")
def test_other_settings_than_the_cells_were_made_with_are_refused_until_overwrite(tiny: Tiny) -> None:
    grid = ("--grid", "sae.gamma=0.05,0.2")
    tiny.command("sweep", "overwritten", *grid)
    before = snapshot(tiny.run("overwritten"), "sweep/**/*")
    changed = (*grid, "--train.total_samples", 960)
    assert_refused_at_once(
        tiny.ended("sweep", "overwritten", *changed), "train.total_samples = 1280", "= 960", "--overwrite"
    )
    assert snapshot(tiny.run("overwritten"), "sweep/**/*") == before
    tiny.command("sweep", "overwritten", *changed, "--overwrite")
    for folder in _cells(tiny.run("overwritten")):
        made_from = read_json(folder / "saes/classifsae/runner_cfg.json")
        assert made_from["train"]["total_samples"] == 960
    new = contents(snapshot(tiny.run("overwritten"), "sweep/*/saes/**/sae_weights.safetensors"))
    assert all(new[name] != before[name][1] for name in new)


# --- Killed


def test_a_sweep_that_was_killed_ends_with_the_bytes_of_one_that_was_not(tiny: Tiny) -> None:
    options = (
        "--grid", "sae.gamma=0.05,0.2", "--grid", "train.seed=0,1", "--train.total_samples", 6400,
        "--train.n_checkpoints", 5,
    )  # fmt: skip
    start = time.monotonic()
    tiny.command("sweep", "whole", *options)
    moments = np.random.default_rng(0).uniform(0, (time.monotonic() - start) / 2, _KILLS)
    command = ["sweep", "--run", str(tiny.run("killed")), "--config", str(tiny.settings), *map(str, options)]
    # The first comes too early for any machine to have ended: how long the others take depends on what else it does.
    assert -signal.SIGKILL in _kill(command, [0.2, *moments.tolist()]), "it ended before it could be killed"
    tiny.command("sweep", "killed", *options)
    expected, found = (contents(snapshot(tiny.run(name), *_SAME_BYTES)) for name in ("whole", "killed"))
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []
    assert not [path for path in tiny.run("killed").rglob("*") if path.name.endswith((".partial", ".training"))]


# The imports take most of the time: one process does them, and lives on when its children are killed.
_LAUNCHER = """
import os, signal, sys, time
import sae_lens_classif.cli.commands
from sae_lens_classif.cli.parser import main

for seconds in sys.argv[1].split(","):
    child = os.fork()
    if not child:
        main(sys.argv[2:])
        os._exit(0)
    time.sleep(float(seconds))
    os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def _kill(command: list[str], moments: list[float]) -> list[int]:
    """Start a command once for each moment, and kill it so many seconds later; returns how each ended."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _LAUNCHER, ",".join(map(str, moments)), *command],
        env={
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        },  # for the same bytes
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    ended = [int(line) for line in done.stdout.splitlines() if line.lstrip("-").isdigit()]
    assert len(ended) == len(moments) and set(ended) <= {0, -signal.SIGKILL}, done.stderr
    return ended


# --- What can be swept


@pytest.mark.usefixtures("_undrawn")
def test_a_layer_is_cached_once_for_all_its_cells_and_the_run_s_own_states_are_left_alone(
    tiny: Tiny, swept: Swept, monkeypatch: pytest.MonkeyPatch, classifier_folder: Path, test_data: TextData
) -> None:
    """The run's own settings name no layer, so that its states are of none of these cells."""
    filled: list[Path] = []
    fill = caching._fill

    def spy(writer: StoreWriter, *others: Any) -> None:
        filled.append(writer.folder)
        fill(writer, *others)

    monkeypatch.setattr(caching, "_fill", spy)
    run = tiny.run("layers")
    shutil.copytree(swept.run / "activations", run / "activations")
    own = snapshot(run, "activations/**/*")
    hooks = ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre"]
    tiny.command("sweep", "layers", "--grid", "sae.gamma=0.05,0.2", "--grid", f"classifier.hook={','.join(hooks)}")
    assert len(filled) == len(set(filled)) == 2 * len(hooks), "two splits of each layer, once"
    assert snapshot(run, "activations/**/*") == own
    assert [row["cell"]["classifier.hook"] for row in _rows(run)] == hooks * 2
    for folder, cfg in _cells(run).items():
        saved = read_json(folder / "saes/classifsae/cfg.json")
        assert saved["metadata"]["hook_name"] == cfg.classifier.hook
    stores = {store.hook_name: store for store in map(ActivationStore, run.glob("sweep/*/activations/test"))}
    assert sorted(stores) == hooks
    for hook in hooks:
        opened = load_classifier(classifier_folder, hook=hook)
        states = states_of_inputs(opened, opened.inputs(test_data.texts), 8192)
        torch.testing.assert_close(stores[hook].read("hidden"), states.hidden, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("_undrawn")
def test_shares_of_the_training_texts_are_nested_and_read_the_same_states(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, train_data: TextData
) -> None:
    splits: list[RowSplit] = []
    batches = ActivationStore.batches

    def spy(store: ActivationStore, size: int, split: RowSplit, start: int = 0) -> Iterator[torch.Tensor]:
        splits.append(split)
        return batches(store, size, split, start)

    monkeypatch.setattr(ActivationStore, "batches", spy)
    tiny.command("sweep", "shares", "--grid", "train.data_share=0.01,0.1,0.5,1")
    held_out = {tuple(split.held_out(np.arange(split.n_held_out)).tolist()) for split in splits}
    trained = [set(split.training(np.arange(split.n_training)).tolist()) for split in splits]
    assert len(held_out) == 1, "all shares are judged on the same held-out texts"
    # 5 % of 240 texts are held out; shares are of the others, whole texts only.
    assert [len(rows) for rows in trained] == [2, 22, 114, 228]
    for fewer, more in itertools.pairwise(trained):
        assert fewer < more
    assert trained[-1] == set(range(len(train_data))) - set(next(iter(held_out)))
    assert not list(tiny.run("shares").glob("sweep/*/activations"))
    assert [row["cell"] for row in _rows(tiny.run("shares"))] == [{"train.data_share": s} for s in (0.01, 0.1, 0.5, 1)]


@pytest.mark.usefixtures("_undrawn")
def test_sizes_of_the_autoencoder_can_be_swept_against_each_other(tiny: Tiny) -> None:
    grid = ("sae.n_concepts=3,8", "sae.k=1,5", "sae.d_sae=16,40")
    options = [word for values in grid for word in ("--grid", values)]
    tiny.command("sweep", "sizes", *options, "--sae.recipe", "reference")
    cells = _cells(tiny.run("sizes"))
    asked = [(n, k, d) for n in (3, 8) for k in (1, 5) for d in (16, 40)]
    assert [(cfg.sae.n_concepts, cfg.sae.k, cfg.sae.d_sae) for cfg in cells.values()] == asked
    hidden = ActivationStore(tiny.run("sizes") / "activations" / "test").read("hidden")
    for folder, (n_concepts, k, d_sae) in zip(cells, asked, strict=True):
        weights = load_file(folder / "saes/classifsae/sae_weights.safetensors")
        assert weights["W_enc"].shape == (32, d_sae)
        assert weights["classifier_weight"].shape == (3, n_concepts)
        details = read_json(folder / "evals/classifsae/completeness.json")["eval_result_details"][0]
        assert len(details["activation_rate"]) == n_concepts
        saved = read_json(folder / "saes/classifsae/cfg.json")
        assert (saved["k"], saved["n_concepts"]) == (k, n_concepts)
        rates = _activations(weights, hidden, k)[:, :n_concepts].gt(1e-6).double().mean(dim=0)
        assert details["activation_rate"] == pytest.approx(rates.tolist(), abs=1.5 / len(hidden))


def _activations(weights: dict[str, torch.Tensor], hidden: torch.Tensor, k: int) -> torch.Tensor:
    """SPEC.md §2, by hand."""
    scaled = hidden * hidden.shape[1] ** 0.5 / hidden.norm(dim=1, keepdim=True)
    before = (scaled @ weights["W_enc"] + weights["b_enc"]).relu()
    kept = before.topk(k, dim=1)
    return torch.zeros_like(before).scatter(1, kept.indices, kept.values)


def test_words_and_nothing_can_be_swept(tiny: Tiny) -> None:
    tiny.command("sweep", "words", "--grid", "sae.schedule=reference,paper", "--grid", "data.max_test_texts=null,30")
    cells = _cells(tiny.run("words"))
    asked = [(schedule, number) for schedule in ("reference", "paper") for number in (None, 30)]
    assert [(cfg.sae.schedule, cfg.data.max_test_texts) for cfg in cells.values()] == asked
    summaries = [read_json(folder / "summary.json") for folder in cells]
    assert [summary["n_test_texts"] for summary in summaries] == [90, 30, 90, 30]
    _assert_is_drawn(tiny.run("words") / "sweep" / "sweep")


def test_the_seeds_alone_can_be_swept(tiny: Tiny) -> None:
    tiny.command("sweep", "seeds", "--grid", "train.seed=3,4")
    (row,) = _rows(tiny.run("seeds"))
    assert (row["cell"], row["seeds"]) == ({}, [3, 4])
    _assert_is_drawn(tiny.run("seeds") / "sweep" / "sweep")


@pytest.mark.usefixtures("_undrawn")
def test_one_value_is_a_sweep_too_and_another_grid_leaves_its_cell_where_it_is(tiny: Tiny) -> None:
    tiny.command("sweep", "one", "--grid", "sae.unit_norm_decoder=false")
    (folder,) = _cells(tiny.run("one"))
    assert _rows(tiny.run("one"))[0]["recovery_accuracy"]["by_seed"] == [_entry(folder)["recovery_accuracy"]]
    single = _rows(tiny.run("one"))[0]["recovery_accuracy"]["ci95"]
    assert single == pytest.approx(_entry(folder)["recovery_accuracy_ci95"])
    before = snapshot(folder)
    tiny.command("sweep", "one", "--grid", "sae.k=3")
    assert [row["cell"] for row in _rows(tiny.run("one"))] == [{"sae.k": 3}], "of this grid alone"
    assert snapshot(folder) == before


@pytest.mark.usefixtures("_undrawn")
def test_a_classifier_is_trained_once_for_all_cells_that_share_its_settings(tiny: Tiny) -> None:
    settings = [
        "--classifier.model", "null", "--prompt.template", "{text}\n\nTopic:", "--prompt.label_word", "<|{id}|>",
        "--finetune.base_model", "scratch", "--finetune.n_layers", 2, "--finetune.d_model", 16, "--finetune.n_heads", 2,
        "--finetune.vocab_size", 300, "--finetune.context", 64, "--finetune.max_steps", 10,
        "--finetune.batch_size", 16, "--finetune.lr", 5e-3, "--evaluate.evals", "[completeness]",
    ]  # fmt: skip
    run = tiny.run("finetuned")
    tiny.command("sweep", "finetuned", *settings, "--grid", "finetune.seed=0,1", "--grid", "sae.k=2,3")
    made = {path.parent.relative_to(run) for path in run.rglob("model.safetensors")}
    assert len(made) == 2 and Path("classifier") in made, "the one of the run's own settings is the run's own"
    models = {(run / folder / "model.safetensors").read_bytes() for folder in made}
    assert len(models) == 2
    assert len(list(run.rglob("activations/train/manifest.json"))) == 2
    stores = [read_json(folder / "saes/classifsae/runner_cfg.json")["store"] for folder in _cells(run)]
    assert stores[0] == stores[1] != stores[2] == stores[3]


@pytest.mark.usefixtures("_undrawn")
def test_values_whose_names_look_alike_have_folders_of_their_own(
    tiny: Tiny, test_data: TextData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny.folder)
    for number, name in enumerate(("texts a", "texts_a")):
        folder = write_csv(
            tiny.folder / name / "test.csv", test_data.texts[number::2], test_data.labels[number::2].tolist()
        )
        shutil.copy(tiny.folder / "texts" / "train.parquet", folder)
    tiny.command("sweep", "alike", "--grid", "data.source=texts a,texts_a")
    assert [cfg.data.source for cfg in _cells(tiny.run("alike")).values()] == ["texts a", "texts_a"]


@pytest.mark.usefixtures("_undrawn")
def test_paths_are_relative_to_where_the_command_is_given(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny.folder / "texts", "mine")
    options = ["--config", tiny.settings, "--data.source", "mine", "--grid", "sae.gamma=0.05,0.2"]
    ended = cli("sweep", "--run", Path("runs", "near"), *options)
    assert ended.code == 0, ended.stderr
    assert len(_cells(tmp_path / "runs" / "near")) == 2
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    before = snapshot(tmp_path / "runs" / "near", "sweep/*/saes/**/*", "activations/**/*")
    options = ["--config", tiny.settings, "--data.source", "../mine", "--grid", "sae.gamma=0.05", "--overwrite"]
    ended = cli("sweep", "--run", "../runs/near", *options)
    assert ended.code == 0, ended.stderr
    after = snapshot(tmp_path / "runs" / "near", "sweep/*/saes/**/*", "activations/**/*")
    assert contents(after).items() <= contents(before).items()


# --- As a data frame


def test_a_sweep_is_a_data_frame_with_a_row_a_cell(swept: Swept) -> None:
    sweep = slc.open_run(swept.run).sweep
    frame = sweep.to_pandas()
    assert frame.index.tolist() == [folder.name for folder in _cells(swept.run)] and len(sweep) == len(frame) == 4
    found = [
        {"sae.gamma": gamma, "train.seed": seed} for gamma, seed in zip(frame["sae.gamma"], frame["seed"], strict=True)
    ]
    assert found == _CELLS and "train.seed" not in frame, "the seed once"
    for name in ("recovery_accuracy", "mean_activation_rate", "conditional_tvd"):
        assert frame[name].tolist() == [_entry(folder)[name] for folder in _cells(swept.run)]
    assert "sweep" in repr(slc.open_run(swept.run))
    cell = slc.open_run(swept.run / "sweep" / frame.index[0])
    assert cell.cfg.sae.gamma == 0.05 and cell.cfg.train.seed == 0 and cell.sae.cfg.n_concepts == 6
    together = sweep.to_pandas(seeds_together=True)
    rows = _rows(swept.run)
    assert together["sae.gamma"].tolist() == [0.05, 0.2] and together["seeds"].tolist() == [2, 2]
    for number, row in enumerate(rows):
        assert together["recovery_accuracy"][number] == row["recovery_accuracy"]["mean"]
        low_high = together.loc[number, ["recovery_accuracy_low", "recovery_accuracy_high"]].tolist()
        assert low_high == row["recovery_accuracy"]["ci95"]


def test_a_sweep_is_shown_short_and_escaped(tiny: Tiny, swept: Swept, tmp_path: Path) -> None:
    sweep = slc.open_run(swept.run).sweep
    assert repr(sweep) == "SweepTable(4 cells: sae.gamma 0.05, 0.2; train.seed 0, 1)"
    assert sweep._repr_html_().startswith("<p>SweepTable(4 cells") and "0.050" in sweep._repr_html_()
    run = tmp_path / "run"
    shutil.copytree(swept.run, run, ignore=shutil.ignore_patterns("sae.gamma*"))
    content = _result(run)
    content["grid"] = {"data.source": ["<script>x</script>" * 100] * 20}
    content["rows"][0]["cell"] = {"data.source": "<script>x</script>"}
    (run / "sweep" / "sweep.json").write_text(json.dumps(content), encoding="utf-8")
    evil = slc.open_run(run).sweep
    assert len(repr(evil)) < 400 and "<script>" not in evil._repr_html_() and "&lt;script&gt;" in evil._repr_html_()


def test_a_sweep_that_is_not_there_or_of_another_version_is_refused(swept: Swept, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(swept.run, run, ignore=shutil.ignore_patterns("sae.gamma*"))
    whole = _result(run)
    first = whole["rows"][0]
    wrong: list[list[Any]] = [[], [{**first, "seeds": [0]}], [{**first, "recovery_accuracy": 0.5}], [{"cell": {}}]]
    for rows in wrong:
        (run / "sweep" / "sweep.json").write_text(json.dumps({**whole, "rows": rows}), encoding="utf-8")
        with pytest.raises(UserError, match=r"not what this version writes.*step `sweep` again"):
            slc.open_run(run).sweep  # noqa: B018
    (run / "sweep" / "sweep.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"sweep\.json"):
        slc.open_run(run).sweep  # noqa: B018
    (run / "sweep" / "sweep.json").unlink()
    with pytest.raises(UserError, match=r"has no sweep/sweep\.json; run `sae-lens-classif sweep --run .* --grid"):
        slc.open_run(run).sweep  # noqa: B018


# --- Numbers that are not there


def test_a_cell_in_which_no_concept_ever_fires_is_a_row_without_effects(tiny: Tiny, swept: Swept) -> None:
    run = tiny.run("silent")
    shutil.copytree(swept.run, run)
    silenced = run / "sweep" / _rows(run)[0]["folders"][0]
    change_sae(silenced, lambda sae: sae.b_enc[:6].fill_(-1e6))
    tiny.command("sweep", "silent", *_GAMMA_AND_SEED)
    row, other = _rows(run)
    assert row["max_activation_rate"]["by_seed"][0] == 0.0
    assert row["conditional_tvd"]["by_seed"][0] is None and row["conditional_tvd"]["by_seed"][1] is not None
    assert (row["conditional_tvd"]["mean"], row["conditional_tvd"]["ci95"]) == (None, None)
    assert other["conditional_tvd"]["mean"] is not None
    assert "–" in (run / "sweep" / "sweep.md").read_text(encoding="utf-8").splitlines()[2]


@pytest.mark.usefixtures("_undrawn")
def test_measures_of_an_earlier_command_with_other_settings_are_not_taken_for_those_of_this_one(
    tiny: Tiny, swept: Swept
) -> None:
    run = tiny.run("mixed")
    shutil.copytree(swept.run, run)
    assert _rows(run)[0]["conditional_tvd"]["mean"] is not None
    tiny.command(
        "sweep", "mixed", *_GAMMA_AND_SEED, "--evaluate.context", "in_context", "--evaluate.evals", "[completeness]"
    )
    for row in _rows(run):
        entries = [_entry(run / "sweep" / name) for name in row["folders"]]
        assert all(entry["context"] == "in_context" and "conditional_tvd" not in entry for entry in entries)
        assert row["recovery_accuracy"]["by_seed"] == [entry["recovery_accuracy"] for entry in entries]
        assert row["conditional_tvd"]["mean"] is None, "it was measured with each state alone"


# --- The grid: how it is written, and what is refused


def test_values_are_read_as_yaml_reads_them() -> None:
    entries = {
        "train.lr": ("1e-4,5E-3,.5, 2", [1e-4, 5e-3, 0.5, 2]),
        "train.seed": ("0,1", [0, 1]),
        "sae.unit_norm_decoder": ("true,false", [True, False]),
        "sae.schedule": ("reference, paper", ["reference", "paper"]),
        "train.wandb_project": ("null,1e3x,'7'", [None, "1e3x", "7"]),
        "classifier.hook": ("blocks.0.hook_resid_pre", ["blocks.0.hook_resid_pre"]),
    }
    options = [part for name, (written, _) in entries.items() for part in ("--grid", f" {name} = {written}")]
    grid = parse(["sweep", *options]).cfg.sweep.grid
    assert grid == {name: values for name, (_, values) in entries.items()}
    assert [type(value) for value in grid["train.seed"]] == [int, int]


def test_values_that_are_lists_can_be_given() -> None:
    grid = parse(["sweep", "--grid", "evaluate.evals=[completeness, causality],[causality]"]).cfg.sweep.grid
    assert grid == {"evaluate.evals": [["completeness", "causality"], ["causality"]]}


def test_a_value_that_looks_like_a_date_is_a_word() -> None:
    assert parse(["sweep", "--grid", "data.test=2024-01-01,b"]).cfg.sweep.grid == {"data.test": ["2024-01-01", "b"]}


def test_a_grid_from_a_yaml_file_gives_the_same_as_one_from_the_command_line(tiny: Tiny, swept: Swept) -> None:
    settings = yaml.safe_load(tiny.settings.read_text(encoding="utf-8"))
    settings["sweep"] = {"grid": {"sae.gamma": [0.05, 0.2], "train.lr": ["from below"]}}
    content = yaml.safe_dump(settings).replace("from below", "5e-3")
    (tiny.folder / "grid.yaml").write_text(content, encoding="utf-8")
    for name in ("from_yaml", "from_options"):
        shutil.copytree(swept.run / "activations", tiny.run(name) / "activations")
    tiny.command("sweep", "from_yaml", "--config", tiny.folder / "grid.yaml")
    tiny.command("sweep", "from_options", "--grid", "sae.gamma=0.05,0.2", "--grid", "train.lr=5e-3")
    one, other = (contents(snapshot(tiny.run(name), *_SAME_BYTES)) for name in ("from_yaml", "from_options"))
    assert sorted(one) == sorted(other)
    assert [name for name in one if one[name] != other[name]] == []
    assert {cfg.train.lr for cfg in _cells(tiny.run("from_yaml")).values()} == {5e-3}


def _assert_nothing_was_made(run: Path) -> None:
    assert not run.exists() or not list(run.iterdir())


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ((), ("the grid is empty", "--grid sae.gamma=0.05,0.1")),
        (("sae.gamma",), ("'sae.gamma'", "--grid sae.gamma=0.05,0.1")),
        (("sae.gamma=",), ("'sae.gamma='", "--grid sae.gamma=0.05,0.1")),
        (("=0.1",), ("'=0.1'", "--grid sae.gamma=0.05,0.1")),
        (
            ("train.seed=" + ",".join(map(str, range(40))), "sae.k=" + ",".join(map(str, range(1, 31)))),
            ("1,200 cells",),
        ),
        (("sae.gama=0.1",), ("sae.gama", "did you mean 'gamma'?")),
        (("sae.k=2,many",), ("sae.k=many", "int")),
        (("sae.gamma=0.1,null",), ("sae.gamma", "null")),
        (("sae.gamma=0.1,0.1",), ("sae.gamma", "twice")),
        (("sae.gamma=0.1", "sae.gamma=0.2"), ("sae.gamma", "twice")),
    ],
)
def test_a_command_with_a_grid_that_cannot_be_ends_with_2_and_one_line(
    tiny: Tiny, tmp_path: Path, grid: tuple[str, ...], words: tuple[str, ...]
) -> None:
    ended = tiny.ended("sweep", str(tmp_path / "run"), *(part for entry in grid for part in ("--grid", entry)))
    assert_refused_at_once(ended, *words)
    _assert_nothing_was_made(tmp_path / "run")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("sweep: {grid: {}}", "empty"),
        ("sweep: {grid: {sae.gamma: 0.1}}", "grid"),
        ("sweep: {grid: {sae.gamma: []}}", "no value for sae.gamma"),
        ("sweep: {grid: {sae: {gamma: [0.1]}}}", "grid"),
        ("sweep: {grd: {sae.gamma: [0.1]}}", "'grid'"),
        ("sweep: {grid: [sae.gamma]}", "grid"),
    ],
)
def test_a_yaml_file_with_a_grid_that_cannot_be_is_refused(tiny: Tiny, tmp_path: Path, content: str, word: str) -> None:
    (tmp_path / "wrong.yaml").write_text(content, encoding="utf-8")
    ended = tiny.ended("sweep", str(tmp_path / "run"), "--config", tmp_path / "wrong.yaml")
    assert_refused_at_once(ended, word)
    _assert_nothing_was_made(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("sae.d_sea", [64], r"d_sea'.*'d_sae'"),
        ("trian.seed", [1], r"'trian'.*'train'"),
        ("gamma", [0.1], r"'gamma'.*'sae\.gamma'"),
        ("seed", [1], r"'seed'.*'\w+\.seed'"),
        ("sae", [1], r"'sae'.*such as sae\.gamma"),
        ("sae.", [1], r"'sae\.'.*sae"),
        (".gamma", [0.1], r"\.gamma.*sae"),
        ("sae.gamma.low", [0.1], r"gamma\.low'.*'gamma'"),
        ("sweep.grid", [1], r"'sweep\.grid'.*vary"),
        ("compare.seeds", [1], r"'compare\.seeds'.*vary"),
        ("sae.k", [2, 2.5], r"sae\.k.*int.*2\.5"),
        ("sae.k", [True], r"sae\.k.*int.*True"),
        ("sae.k", [None], r"sae\.k.*(?i:none|null)"),
        ("sae.k", [[2]], r"sae\.k.*int"),
        ("sae.unit_norm_decoder", ["perhaps"], r"sae\.unit_norm_decoder.*bool.*perhaps"),
        ("sae.schedule", ["papers"], r"sae\.schedule.*paper.*papers"),
        ("sae.gamma", [0.1, 0], r"sae\.gamma is 0.*above 0"),
        ("sae.gamma", [0.1, 1.5], r"sae\.gamma is 1\.5.*at most 1"),
        ("sae.gamma", [float("nan")], r"(?i)sae\.gamma.*nan"),
        ("train.data_share", [0.5, 0], r"train\.data_share is 0"),
        ("train.seed", [0, -1], r"train\.seed is -1"),
        ("sae.k", [2, 100], r"sae\.k is 100.*sae\.d_sae = 48"),
        ("sae.gamma", [1, 1.0], r"sae\.gamma.*twice"),
    ],
)
def test_a_setting_or_value_that_cannot_be_is_refused_before_anything_is_trained(
    tmp_path: Path, name: str, values: list[Any], message: str
) -> None:
    cfg = RunConfig(sae=SAESettings(d_sae=48), train=TrainConfig(total_samples=1000))
    with pytest.raises(UserError, match=message):
        sweep_step(
            RunFolder(tmp_path / "run", replace(cfg, sweep=SweepConfig({"sae.n_concepts": [2, 3], name: values})))
        )
    _assert_nothing_was_made(tmp_path / "run")


@pytest.mark.parametrize(
    ("grid", "word"),
    [
        ("classifier.hook=blocks.1.hook_resid_pre,blocks.9.hook_resid_pre", "blocks.9.hook_resid_pre"),
        ("train.data_share=0.5,0.001", "none is left to train on"),
        ("data.source=texts,nowhere_at_all", "nowhere_at_all"),
    ],
)
def test_a_value_that_does_not_fit_the_model_or_the_texts_is_refused_before_anything_is_trained(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, grid: str, word: str
) -> None:
    monkeypatch.chdir(tiny.folder)
    monkeypatch.setattr("sae_lens_classif.data.texts.hub_is_reachable", lambda: False, raising=False)
    shutil.rmtree(tiny.run("unfit"), ignore_errors=True)
    ended = tiny.ended("sweep", "unfit", "--grid", grid)
    assert ended.code == 2, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: ") and word in ended.stderr.splitlines()[-1]
    assert not list(tiny.run("unfit").glob("**/sae_weights.safetensors"))


def test_a_cell_takes_every_other_setting_from_the_run() -> None:
    cfg = RunConfig(sae=SAESettings(d_sae=99), sweep=SweepConfig({"sae.k": [3]}))
    cell = cell_config(cfg, {"sae.k": 3, "train.lr": 1e-3})
    expected = {**asdict(cfg), "sae": {**asdict(cfg.sae), "k": 3}, "train": {**asdict(cfg.train), "lr": 1e-3}}
    assert asdict(cell) == {**expected, "sweep": {"grid": {}}}
