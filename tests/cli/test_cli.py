"""The command line: where settings come from, and how it ends when something is wrong."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

import sae_lens_classif
from sae_lens_classif.cli.commands import COMMANDS
from sae_lens_classif.cli.parser import main, parse
from sae_lens_classif.config.run import RunConfig
from sae_lens_classif.runs.folder import RunFolder

STEPS = ("finetune", "cache", "train", "evaluate", "run", "compare", "sweep", "demo")


class Ended(NamedTuple):
    """How a command ended."""

    code: int | str | None
    stdout: str
    stderr: str


Cli = Callable[..., Ended]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process."""
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")

    def run(*arguments: object) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return Ended(ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def yaml_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(content: str) -> Path:
        path = tmp_path / "settings.yaml"
        path.write_text(content, encoding="utf-8")
        return path

    return write


def assert_users_mistake(ended: Ended) -> None:
    assert ended.code == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1, "one line"
    assert ended.stderr.endswith("\n")


def assert_refused_before_the_run(ended: Ended) -> None:
    assert_users_mistake(ended)
    assert "`cache`" not in ended.stderr, "the step itself was begun, and misses the one before"


@pytest.fixture(autouse=True)
def _no_runs_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_settings_come_from_defaults_run_folder_presets_config_and_options_each_over_the_ones_before(
    tmp_path: Path, yaml_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = "sae: {gamma: 0.3, d_sae: 91, k: 8, n_concepts: 9}"
    (tmp_path / "config.yaml").write_text(noted, encoding="utf-8")
    # The preset `small` sets total_samples and leaves all of this alone.
    config = yaml_file("sae: {k: 6, n_concepts: 7}")
    arguments = ["--run", str(tmp_path), "--preset", "small", "--config", str(config), "--sae.n_concepts", "5"]
    trained: list[RunFolder] = []
    monkeypatch.setitem(COMMANDS, "train", trained.append)
    main(["train", *arguments])
    (run,) = trained
    assert (run.folder, run.overwrite) == (tmp_path, False)
    sae = run.cfg.sae
    assert (sae.gamma, sae.d_sae, sae.k, sae.n_concepts) == (0.3, 91, 6, 5)
    assert run.cfg.train.total_samples == 2_000_000
    assert sae.mse_coefficient == RunConfig().sae.mse_coefficient


def test_an_option_wins_over_a_config_file_that_is_named_after_it(yaml_file: Callable[[str], Path]) -> None:
    config = yaml_file("train: {lr: 0.5, seed: 3}")
    train = parse(["train", "--train.lr", "0.25", "--config", str(config)]).cfg.train
    assert (train.lr, train.seed) == (0.25, 3)


def test_of_several_presets_the_later_wins() -> None:
    cfg = parse(["run", "--preset", "ag_news,small"]).cfg
    assert cfg.data.class_names == ("World", "Sports", "Business", "Sci/Tech")
    assert (cfg.train.total_samples, cfg.finetune.base_model) == (2_000_000, "scratch")


def test_the_demo_of_an_encoder_tunes_a_head_on_minilm() -> None:
    run = parse(["demo", "--encoder", "--train.seed", "3"])
    assert run.folder == Path("runs/demo-encoder")
    assert (run.cfg.finetune.base_model, run.cfg.finetune.train_blocks) == ("all-MiniLM-L6-v2", 2)
    assert run.cfg.train.seed == 3


def test_demo_has_its_preset_and_folder_without_being_asked() -> None:
    request = parse(["demo"])
    assert request.folder == Path("runs/demo")
    assert request.cfg == parse(["run", "--preset", "demo"]).cfg
    assert (request.cfg.data.source, request.cfg.finetune.base_model) == ("bbc_news", "scratch")


def test_lists_and_nothing_can_be_given_as_options() -> None:
    arguments = ["--data.class_names", "[bad, good]", "--finetune.max_steps", "null", "--evaluate.evals", "[causality]"]
    cfg = parse(["run", *arguments]).cfg
    assert cfg.data.class_names == ("bad", "good")
    assert cfg.finetune.max_steps is None
    assert cfg.evaluate.evals == ("causality",)


@pytest.mark.parametrize(
    ("content", "got", "near"),
    [
        ("sae: {d_sea: 5}", "d_sea'", "d_sae'"),
        ("trian: {lr: 0.1}", "trian", "'train"),
        ("train: {learning_rate: 5}", "learning_rate'", "train"),
        ("lr: 0.1", "'lr'", ".lr'"),
    ],
)
def test_an_unknown_key_of_a_config_file_is_an_error_with_the_nearest_name(
    cli: Cli, yaml_file: Callable[[str], Path], content: str, got: str, near: str
) -> None:
    ended = cli("train", "--config", yaml_file(content))
    assert_refused_before_the_run(ended)
    assert got in ended.stderr
    assert near in ended.stderr


@pytest.mark.parametrize(
    ("option", "near"),
    [("--sae.d_sea", "sae.d_sae"), ("--d_sae", "sae.d_sae"), ("--trian.lr", "train.lr"), ("--prest", "preset")],
)
@pytest.mark.parametrize("form", ["two words", "one word"])
def test_an_unknown_option_is_an_error_with_the_nearest_name(cli: Cli, option: str, near: str, form: str) -> None:
    ended = cli("train", *([option, "5"] if form == "two words" else [f"{option}=5"]))
    assert_refused_before_the_run(ended)
    assert f"{option.removeprefix('--')}'" in ended.stderr
    assert near in ended.stderr


def test_a_shortened_option_is_not_half_understood(cli: Cli) -> None:
    """If the parser took ``--pre`` for ``--preset``, what reads the presets would not: it would be ignored."""
    assert_refused_before_the_run(cli("train", "--pre", "demo"))


@pytest.mark.parametrize("content", ["preset: demo", "run: elsewhere"])
def test_a_config_file_cannot_hold_what_only_the_command_line_can_say(
    cli: Cli, yaml_file: Callable[[str], Path], content: str
) -> None:
    ended = cli("train", "--config", yaml_file(content))
    assert_refused_before_the_run(ended)
    assert content.split(":")[0] in ended.stderr
    assert "settings.yaml" in ended.stderr or "--preset" in ended.stderr or "--run" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--sae.k", "many"), ("sae.k", "int", "many")),
        (("--sae.k", "1.5"), ("sae.k", "int", "1.5")),
        (("--train.lr", "fast"), ("train.lr", "float", "fast")),
        (("--train.lr", "-1"), ("train.lr", "-1", "0")),
        (("--train.lr",), ("train.lr",)),
        (("--train.keep", "middle"), ("train.keep", "best", "last", "middle")),
        (("--evaluate.evals", "[complete]"), ("evaluate.evals", "completeness", "complete")),
        (("--data.class_names", "World"), ("data.class_names", "World")),
        (("--prompt.template", "no place"), ("prompt.template", "{text}")),
        (("--preset", "dmo"), ("'dmo'", "'demo'")),
        (("--config", "missing.yaml"), ("missing.yaml",)),
        (("left", "over"), ("left",)),
    ],
)
def test_an_option_that_cannot_be_is_the_users_mistake(
    cli: Cli, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    ended = cli("train", *arguments)
    assert_refused_before_the_run(ended)
    assert all(word in ended.stderr for word in words), ended.stderr


@pytest.mark.parametrize("content", ["just words", "sae: [1,", "sae: 5", "sae: {k: many}", "- sae"])
def test_a_config_file_that_holds_no_settings_is_the_users_mistake(
    cli: Cli, yaml_file: Callable[[str], Path], content: str
) -> None:
    assert_refused_before_the_run(cli("train", "--config", yaml_file(content)))


@pytest.mark.parametrize("content", ["", "# nothing but a remark\n", "sae:\n"])
def test_a_config_file_or_a_section_with_nothing_in_it_changes_nothing(
    yaml_file: Callable[[str], Path], content: str
) -> None:
    assert parse(["train", "--config", str(yaml_file(content))]).cfg == RunConfig()


@pytest.mark.parametrize("content", ["just words", "sae: [1,", "zork: 1"])
def test_a_run_folder_with_a_config_that_is_none_is_the_users_mistake_and_is_named(
    cli: Cli, tmp_path: Path, content: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text(content, encoding="utf-8")
    ended = cli("train", "--run", tmp_path / "mine")
    assert_users_mistake(ended)
    assert str(tmp_path / "mine" / "config.yaml") in ended.stderr


@pytest.mark.parametrize("arguments", [("trian",), ("",), ("--run", "x")])
def test_without_a_step_the_steps_are_listed(cli: Cli, arguments: tuple[str, ...]) -> None:
    ended = cli(*arguments)
    assert_users_mistake(ended)
    assert "finetune" in ended.stderr
    assert "evaluate" in ended.stderr


@pytest.mark.parametrize("arguments", [("--help",), ()])
def test_help_lists_the_steps_and_is_what_nothing_at_all_shows(cli: Cli, arguments: tuple[str, ...]) -> None:
    ended = cli(*arguments)
    assert (ended.code, ended.stderr) == (0, "")
    assert all(step in ended.stdout for step in STEPS)


def test_the_version_is_told(cli: Cli) -> None:
    assert cli("--version").stdout.strip() == f"sae-lens-classif {sae_lens_classif.__version__}"


@pytest.mark.parametrize("step", STEPS)
def test_help_of_every_step_says_what_each_setting_does_and_its_default(cli: Cli, step: str) -> None:
    short = cli(step, "--help")
    assert short.code == 0 and f"sae-lens-classif {step} --help-all" in short.stdout
    assert all(f"--{name}\n" in short.stdout for name in ("data.source", "classifier.model", "sae.n_concepts"))
    assert short.stdout.count("\n") < 80
    ended = cli(step, "--help-all")
    text = " ".join(ended.stdout.split())
    assert (ended.code, ended.stderr) == (0, "")
    for name, kind, default in (("train.lr", "float", "5e-05"), ("sae.k", "int", "10")):
        assert re.search(rf"--{name} \S+ [^()]*\w\. \(type: {kind}, default: {default}\)", text), name
    assert "--preset" in text
    assert "--overwrite" in text


def test_help_of_run_begins_with_the_ten_settings_that_matter(cli: Cli) -> None:
    told = re.findall(r"^  --([a-z]+\.[a-z_]+)$", cli("run", "--help").stdout, re.MULTILINE)
    assert told == [
        "data.source", "data.text_column", "data.label_column", "data.max_train_texts", "classifier.model",
        "prompt.template", "finetune.base_model", "sae.n_concepts", "train.total_samples", "train.seed",
    ]  # fmt: skip


@pytest.mark.parametrize(("step", "missing"), [("cache", "`finetune`"), ("train", "`cache`"), ("evaluate", "`train`")])
def test_a_step_without_the_one_before_says_which_is_missing(cli: Cli, tmp_path: Path, step: str, missing: str) -> None:
    ended = cli(step, "--run", tmp_path / "new")
    assert_users_mistake(ended)
    assert missing in ended.stderr


@pytest.mark.parametrize("name", ["a_file", "a_file/below", "x" * 300])
def test_a_run_folder_that_cannot_be_is_the_users_mistake(cli: Cli, tmp_path: Path, name: str) -> None:
    (tmp_path / "a_file").write_text("", encoding="utf-8")
    ended = cli("train", "--run", tmp_path / name)
    assert_users_mistake(ended)
    assert name in ended.stderr
    assert (tmp_path / "a_file").read_text(encoding="utf-8") == ""


def test_bad_data_is_the_users_mistake_and_leaves_no_classifier_behind(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.txt").write_text("no table", encoding="utf-8")
    ended = cli("run", "--run", "mine", "--data.source", "texts", "--preset", "small")
    assert_users_mistake(ended)
    assert "train.txt" in ended.stderr
    assert not list((tmp_path / "mine").iterdir())


def test_a_folder_of_another_run_is_refused_and_stays_as_it_is(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine" / "classifier").mkdir(parents=True)
    RunFolder(tmp_path / "mine", RunConfig()).note()
    before = (tmp_path / "mine" / "config.yaml").read_text(encoding="utf-8")
    ended = cli("cache", "--run", "mine", "--finetune.lr", "0.5")
    assert_users_mistake(ended)
    assert all(named in ended.stderr for named in ("finetune.lr", "2e-06", "0.5", "--overwrite")), ended.stderr
    assert (tmp_path / "mine" / "config.yaml").read_text(encoding="utf-8") == before
    assert (tmp_path / "mine" / "classifier").is_dir()


def fail(*_: object) -> NoReturn:
    raise RuntimeError("first line\nsecond line")


def test_an_error_of_ours_ends_with_1_and_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "train", fail)
    ended = cli("train", "--run", "mine")
    assert ended.code == 1
    assert "RuntimeError: first line" in ended.stderr
    assert "--debug" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_with_debug_the_traceback_is_shown_and_the_exit_code_stays(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = cli("train", "--run", "mine", "--debug")
    assert ended.code == 2
    assert "Traceback" in ended.stderr and "`cache`" in ended.stderr
    monkeypatch.setitem(COMMANDS, "train", fail)
    ended = cli("train", "--run", "mine", "--debug")
    assert ended.code == 1
    assert "Traceback" in ended.stderr and "RuntimeError: first line" in ended.stderr


def test_the_settings_of_a_step_that_failed_are_not_noted(cli: Cli, tmp_path: Path) -> None:
    assert cli("train", "--run", "mine", "--train.lr", "0.5").code == 2
    assert not (tmp_path / "mine" / "config.yaml").exists()


def run_module(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_DATASETS_CACHE": str(folder / "datasets_cache")}
    command = [sys.executable, "-m", "sae_lens_classif", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_as_a_module_a_mistake_is_one_line_and_code_2(tmp_path: Path) -> None:
    done = run_module(tmp_path, "train", "--sae.d_sea", "5")
    assert_users_mistake(Ended(done.returncode, done.stdout, done.stderr))
    assert "'sae.d_sae'" in done.stderr


def test_as_a_module_a_broken_table_is_told_once_and_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\nrain,0\nsnow,1,2,3\n", encoding="utf-8")
    done = run_module(tmp_path, "finetune", "--run", "mine", "--data.source", ".")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: train.csv ")
    assert "Traceback" not in done.stderr
    assert done.stderr.count("Expected 2 fields in line 3, saw 4") == 1


@pytest.mark.parametrize("written", ["ica,topk_sae", "[ica,topk_sae]", "[ica, topk_sae]"])
@pytest.mark.parametrize("joined", [True, False])
def test_lists_can_be_written_with_and_without_brackets(written: str, joined: bool) -> None:
    given = [f"--compare.methods={written}"] if joined else ["--compare.methods", written]
    assert parse(["compare", *given]).cfg.compare.methods == ("ica", "topk_sae")


def test_a_section_can_be_read_from_a_file_of_its_own(yaml_file: Callable[[str], Path]) -> None:
    sae = parse(["train", "--sae.k", "6", "--sae", str(yaml_file("gamma: 0.3"))]).cfg.sae
    assert (sae.gamma, sae.k) == (0.3, 6)


def test_a_value_that_cannot_be_is_told_with_the_file_it_is_from(cli: Cli, yaml_file: Callable[[str], Path]) -> None:
    ended = cli("train", "--config", yaml_file("sae: {k: many}"))
    assert_refused_before_the_run(ended)
    assert all(word in ended.stderr for word in ("settings.yaml", "sae.k", "many"))


@pytest.mark.parametrize("way", ["option", "file"])
def test_null_where_a_value_is_needed_is_refused(cli: Cli, yaml_file: Callable[[str], Path], way: str) -> None:
    ended = cli("train", *(["--sae.k", "null"] if way == "option" else ["--config", yaml_file("sae: {k: null}")]))
    assert_refused_before_the_run(ended)
    assert "sae.k" in ended.stderr


@pytest.mark.parametrize("words", [("two", "words"), ("text", "--sae.k", "3")])
def test_what_a_command_does_not_take_is_refused_before_it_begins(cli: Cli, words: tuple[str, ...]) -> None:
    ended = cli("explain", "run", *words)
    assert_users_mistake(ended)
    assert words[-2 if len(words) > 2 else -1].removeprefix("--") in ended.stderr


def test_lists_of_one_and_of_numbers_and_of_words_that_look_like_numbers_need_no_brackets() -> None:
    given = ["--compare.seeds", "3", "--evaluate.evals", "causality", "--data.class_names", "a b,c"]
    cfg = parse(["compare", *given]).cfg
    assert cfg.compare.seeds == (3,) and cfg.evaluate.evals == ("causality",) and cfg.data.class_names == ("a b", "c")
    assert parse(["compare", "--data.class_names", "null"]).cfg.data.class_names is None
    assert parse(["compare", "--data.class_names", "nullable,b"]).cfg.data.class_names == ("nullable", "b")
