"""The folder of a run: its places, the settings it was made with, and what happens when they change."""

import errno
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

from sae_lens_classif.cli.parser import parse
from sae_lens_classif.config.classifier import CacheConfig, ClassifierConfig, DataConfig, FinetuneConfig, PromptConfig
from sae_lens_classif.config.run import EvaluateConfig, RunConfig, SAESettings, TrainConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.runs.folder import RunFolder
from tests.tiny_run import Tiny, assert_refused_at_once, cli, make_tiny, snapshot

RESULTS = ("classifier", "activations/train", "activations/test", "saes/classifsae")
STATES = {"activations/train", "activations/test"}


def made(folder: Path, cfg: RunConfig, results: Iterable[str] = RESULTS) -> RunFolder:
    """A run folder whose results look finished."""
    run = RunFolder(folder, cfg)
    run.claim()
    run.note()
    for result in results:
        (folder / result).mkdir(parents=True)
        (folder / result / "made.txt").write_text("with the first settings", encoding="utf-8")
    return run


def there(folder: Path) -> set[str]:
    return {result for result in RESULTS if (folder / result / "made.txt").is_file()}


def test_every_result_has_the_place_that_others_look_for_it(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, RunConfig())
    assert run.config_file == tmp_path / "config.yaml"
    assert run.classifier == tmp_path / "classifier"
    assert run.activations("train") == tmp_path / "activations" / "train"
    assert run.activations("test") == tmp_path / "activations" / "test"
    assert run.sae == tmp_path / "saes" / "classifsae"
    assert run.evaluations("classifsae") == tmp_path / "evals" / "classifsae"
    assert run.evaluations("ica", 3) == tmp_path / "evals" / "ica" / "seed-3"
    assert run.method("ica", 3) == tmp_path / "methods" / "ica" / "seed-3"
    assert run.figures == tmp_path / "figures"
    assert run.summary == tmp_path / "summary.json"


def test_the_noted_settings_are_yaml_that_gives_the_same_run_again(tmp_path: Path) -> None:
    cfg = RunConfig(
        data=DataConfig(class_names=("ja: nein", "Ärger", "null", "1"), max_characters=70, source="a folder/ö"),
        prompt=PromptConfig(template="  {text}\n\n#{options}\n'\"", label_words=("0", "1e3", "yes", "~")),
        classifier=ClassifierConfig(hook="blocks.2.hook_resid_pre"),
        finetune=FinetuneConfig(max_steps=None, lr=1e-7),
        train=TrainConfig(keep="best", lr_end=0.0),
        evaluate=EvaluateConfig(context="in_context"),
    )
    run = RunFolder(tmp_path / "new" / "run", cfg)
    run.claim()
    run.note()
    noted = yaml.safe_load((tmp_path / "new" / "run" / "config.yaml").read_text(encoding="utf-8"))
    assert noted["data"]["class_names"] == ["ja: nein", "Ärger", "null", "1"]
    assert noted["finetune"]["max_steps"] is None
    assert parse(["run", "--run", str(tmp_path / "new" / "run")]).cfg == cfg


CHANGES = [
    (RunConfig(data=DataConfig(max_characters=9)), "data.max_characters = None, now", set[str]()),
    (RunConfig(prompt=PromptConfig(cut="end")), "prompt.cut = 'beginning', now prompt.cut = 'end'", set[str]()),
    (RunConfig(finetune=FinetuneConfig(lr=0.5)), "finetune.lr = 2e-06, now finetune.lr = 0.5", set[str]()),
    (
        RunConfig(classifier=ClassifierConfig(dtype="float16")),
        "classifier.dtype = 'float32', now classifier.dtype = 'float16'",
        {"classifier"},
    ),
    (RunConfig(cache=CacheConfig(shard_size=7)), "cache.shard_size = 4096, now cache.shard_size = 7", {"classifier"}),
    (RunConfig(sae=SAESettings(k=3)), "sae.k = 10, now sae.k = 3", {"classifier", *STATES}),
    (RunConfig(train=TrainConfig(seed=5)), "train.seed = 0, now train.seed = 5", {"classifier", *STATES}),
]


@pytest.mark.parametrize(("changed", "message", "kept"), CHANGES)
def test_a_result_of_other_settings_is_refused_and_nothing_is_touched(
    tmp_path: Path, changed: RunConfig, message: str, kept: set[str]
) -> None:
    run = made(tmp_path, RunConfig())
    noted = run.config_file.read_bytes()
    with pytest.raises(UserError, match=f"was made with {message}") as refused:
        RunFolder(tmp_path, changed).claim()
    assert "--overwrite" in str(refused.value)
    assert run.config_file.read_bytes() == noted
    assert there(tmp_path) == set(RESULTS)


@pytest.mark.parametrize(("changed", "message", "kept"), CHANGES)
def test_overwrite_drops_what_the_changed_setting_concerns_and_what_builds_on_it(
    tmp_path: Path, changed: RunConfig, message: str, kept: set[str]
) -> None:
    run = made(tmp_path, RunConfig())
    run.evaluations("classifsae").mkdir(parents=True)
    run.summary.write_text("{}", encoding="utf-8")
    RunFolder(tmp_path, changed, overwrite=True).claim()
    assert there(tmp_path) == kept
    assert not run.evaluations("classifsae").exists(), "it was measured on what is gone"
    assert not run.summary.exists()


def test_overwrite_drops_what_shows_the_results_that_go(tmp_path: Path) -> None:
    run = made(tmp_path, RunConfig())
    shown = [
        run.summary,
        run.figures / "ablation.png",
        *(tmp_path / f"comparison.{end}" for end in ("json", "md", "tex")),
    ]
    for file in shown:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("of the first settings", encoding="utf-8")
    RunFolder(tmp_path, replace(RunConfig(), train=TrainConfig(seed=1)), overwrite=True).claim()
    assert [file for file in shown if file.exists()] == []


def test_a_run_is_opened_with_its_own_settings(tmp_path: Path) -> None:
    cfg = replace(RunConfig(), train=TrainConfig(seed=7))
    made(tmp_path / "run", cfg, ())
    assert RunFolder.open(tmp_path / "run").cfg == cfg
    with pytest.raises(UserError, match=r"nothing .*config\.yaml"):
        RunFolder.open(tmp_path / "nothing")


def test_overwrite_also_drops_a_training_that_was_killed(tmp_path: Path) -> None:
    run = made(tmp_path, RunConfig(), ["classifier", *STATES])
    run.training.mkdir(parents=True)
    RunFolder(tmp_path, RunConfig(train=TrainConfig(lr=1e-3)), overwrite=True).claim()
    assert not run.training.exists()
    assert there(tmp_path) == {"classifier", *STATES}


def test_the_same_settings_are_welcome_again_with_and_without_overwrite(tmp_path: Path) -> None:
    made(tmp_path, RunConfig())
    for overwrite in (False, True):
        RunFolder(tmp_path, RunConfig(), overwrite).claim()
        assert there(tmp_path) == set(RESULTS)


@pytest.mark.parametrize(
    "changed",
    [
        RunConfig(classifier=ClassifierConfig(device="cpu")),
        RunConfig(cache=CacheConfig(max_batch_tokens=100)),
        RunConfig(train=TrainConfig(device="cpu")),
        RunConfig(evaluate=EvaluateConfig(n_bootstrap=7)),
    ],
)
def test_settings_that_change_no_result_may_change(tmp_path: Path, changed: RunConfig) -> None:
    made(tmp_path, RunConfig())
    run = RunFolder(tmp_path, changed)
    run.claim()
    run.note()
    assert there(tmp_path) == set(RESULTS)
    assert parse(["run", "--run", str(tmp_path)]).cfg == changed


def test_settings_of_a_step_that_was_not_run_yet_may_change(tmp_path: Path) -> None:
    made(tmp_path, RunConfig(), ["classifier", *STATES])
    changed = replace(RunConfig(), sae=SAESettings(k=3))
    run = RunFolder(tmp_path, changed)
    run.claim()
    run.note()
    assert there(tmp_path) == {"classifier", *STATES}
    assert parse(["run", "--run", str(tmp_path)]).cfg == changed


@pytest.mark.parametrize("content", ["{", "data of mine", "- data\n", "data: 5\n"])
def test_noted_settings_that_cannot_be_read_are_refused_with_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"config\.yaml"):
        RunFolder(tmp_path, RunConfig()).claim()
    assert (tmp_path / "config.yaml").read_text(encoding="utf-8") == content


@pytest.mark.parametrize(
    ("name", "message"), [("a_file", "is a file"), ("a_file/below", "is a file"), ("x" * 300, "x{300}")]
)
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "a_file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=f"(?i){message}"):
        RunFolder(tmp_path / name, RunConfig()).claim()


def test_a_full_disk_is_told_and_leaves_no_settings_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match=r"disk is full .*config\.yaml"):
        RunFolder(tmp_path, RunConfig()).note()
    assert not (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        (DataConfig(max_test_texts=50), {"classifier", "activations/train", "saes/classifsae"}),
        (DataConfig(test="other"), {"classifier", "activations/train", "saes/classifsae"}),
        (DataConfig(max_train_texts=50), set[str]()),
    ],
)
def test_a_setting_of_one_split_is_no_matter_to_what_the_other_made(
    tmp_path: Path, changed: DataConfig, kept: set[str]
) -> None:
    made(tmp_path, RunConfig())
    RunFolder(tmp_path, RunConfig(data=changed), overwrite=True).claim()
    assert there(tmp_path) == kept


def test_a_setting_that_an_older_folder_does_not_know_was_at_its_default(tmp_path: Path) -> None:
    run = made(tmp_path, RunConfig())
    noted = yaml.safe_load(run.config_file.read_text(encoding="utf-8"))
    del noted["train"]["lr_end"]
    run.config_file.write_text(yaml.safe_dump(noted), encoding="utf-8")
    RunFolder(tmp_path, RunConfig()).claim()
    with pytest.raises(UserError, match=r"train\.lr_end = 5e-07, .*train\.lr_end = 0\.1"):
        RunFolder(tmp_path, RunConfig(train=TrainConfig(lr_end=0.1))).claim()


def test_which_evaluations_are_asked_for_is_not_noted(tmp_path: Path) -> None:
    RunFolder(tmp_path, RunConfig(evaluate=EvaluateConfig(evals=("causality",)))).note()
    assert parse(["run", "--run", str(tmp_path)]).cfg == RunConfig()


@pytest.fixture
def tiny(tmp_path: Path, classifier_folder: Path, train_data: TextData, test_data: TextData) -> Tiny:
    return make_tiny(tmp_path / "tiny", classifier_folder, train_data, test_data)


def test_settings_that_were_changed_since_a_run_wrote_them_are_refused_unless_that_is_meant(tmp_path: Path) -> None:
    run = made(tmp_path, RunConfig(train=TrainConfig(lr=2e-4)))
    text = run.config_file.read_text(encoding="utf-8")
    assert RunFolder.open(tmp_path).cfg.train.lr == 2e-4
    changed = text.replace("lr: 0.0002", "lr: 0.0003")
    run.config_file.write_text(changed, encoding="utf-8")
    with pytest.raises(UserError, match=r"config\.yaml was changed since .* delete the file's first and last line"):
        RunFolder.open(tmp_path)
    lines = changed.splitlines(keepends=True)
    for damaged, words in ((lines[:5], "was changed since"), ([], "is empty")):
        run.config_file.write_text("".join(damaged), encoding="utf-8")
        with pytest.raises(UserError, match=rf"config\.yaml {words}"):
            RunFolder.open(tmp_path)
    run.config_file.write_text("".join(lines[1:-1]), encoding="utf-8")
    assert RunFolder.open(tmp_path).cfg.train.lr == 3e-4


def test_what_moved_with_a_run_is_found_and_another_name_stays_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "old" / "model").mkdir(parents=True)
    asked = RunConfig(classifier=ClassifierConfig(str(tmp_path / "old" / "model")))
    made(tmp_path / "old" / "run", asked)
    (tmp_path / "old").rename(tmp_path / "new")
    run = tmp_path / "new" / "run"
    assert RunFolder.open(run).cfg.classifier.model == str(tmp_path / "new" / "model")
    for name in ("somebody/model", "their_module:their_function", str(tmp_path / "none")):
        assert RunFolder(run, RunConfig(classifier=ClassifierConfig(name))).cfg.classifier.model == name


def test_a_run_that_is_moved_with_its_texts_finds_them_and_what_was_made_of_them(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny.folder / "texts", tmp_path / "old" / "texts")
    source = tmp_path / "old" / "texts"
    run = tmp_path / "old" / "runs" / "mine"
    ended = cli("run", "--run", run, "--config", tiny.settings, "--data.source", source)
    assert ended.code == 0, ended.stderr
    (tmp_path / "old").rename(tmp_path / "new")
    run, before = tmp_path / "new" / "runs" / "mine", snapshot(tmp_path / "new" / "runs" / "mine", "**/*.safetensors")
    assert len(RunFolder.open(run).texts("test")) == 90
    assert cli("report", run).code == 0
    assert cli("train", "--run", run).code == 0
    assert snapshot(run, "**/*.safetensors") == before
    # Texts that were left behind are asked for once.
    (tmp_path / "new" / "texts").rename(tmp_path / "elsewhere")
    assert_refused_at_once(cli("report", run), "texts", "--data.source")
    ended = cli("cache", "--run", run, "--data.source", tmp_path / "elsewhere")
    assert ended.code == 0, ended.stderr
    assert cli("report", run).code == 0
    assert snapshot(run, "**/*.safetensors") == before
