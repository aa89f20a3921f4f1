"""Files of a run that are not what they should be: each is named in one line, and none is waited for."""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from sae_lens_classif.checksums import parse_json, read_json, write_json
from sae_lens_classif.config.classifier import DataConfig
from sae_lens_classif.config.run import RunConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.embeddings import embed_texts
from sae_lens_classif.hub import hub_is_reachable, packaged_model
from sae_lens_classif.methods.find import find_method
from sae_lens_classif.reading import read_text, refuse_devices
from sae_lens_classif.runs.places import found_places
from tests.tiny_run import Ended, Tiny, cli, make_tiny, write_csv

MakeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="module")
def whole(make_once: MakeOnce, classifier_folder: Path, train_data: TextData, test_data: TextData) -> Tiny:
    def make(folder: Path) -> None:
        make_tiny(folder, classifier_folder, train_data, test_data).command("run", "run")

    return Tiny(make_once("mistakes", make))


@pytest.fixture
def run(whole: Tiny, tmp_path: Path) -> Path:
    """A copy of the run, to be damaged."""
    return Path(shutil.copytree(whole.run("run"), tmp_path / "run"))


def assert_told(ended: Ended, *words: str) -> None:
    """The user's mistake, told in the last line, which is the only one of its kind."""
    last = ended.stderr.splitlines()[-1]
    assert ended.code == 2 and ended.stderr.count("error: ") == 1 and last.startswith("error: "), ended.stderr
    assert [word for word in words if word not in last] == [], last


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("names.json", '{"classifsae": {"weights": 1, "names": []}}', "is not what `name` writes"),
        ("names.json", '{"classifsae": {"weights": "a", "names": {"one": "a"}}}', "is not what `name` writes"),
        ("names.json", "[" * 100_000, "nested too deep"),
        ("summary.json", '{"methods": []}', "summary.json"),
        ("activations/test/manifest.json", "[]", "is not what `cache` writes"),
        ("activations/test/manifest.json", '{"format": 1, "n_texts": "many"}', "is not what `cache` writes"),
        ("config.yaml", "data: {source: [1]}", "data.source"),
    ],
)
def test_a_file_of_right_syntax_and_wrong_shape_is_named(run: Path, name: str, content: str, words: str) -> None:
    (run / name).write_text(content, encoding="utf-8")
    assert_told(cli("report", run, "--explained", 0), words)


@pytest.mark.parametrize(
    ("of_concept", "words"),
    [
        ({"index": 99}, "names the concept 99"),
        ({"points_with": [99]}, "names the concept 99"),
        ({"top_texts": [9999]}, "names the text 9999"),
        ({"class_name": "zebras"}, "names the class 'zebras'"),
    ],
)
def test_a_summary_of_concepts_that_the_run_does_not_hold_is_told(
    run: Path, of_concept: dict[str, object], words: str
) -> None:
    summary = read_json(run / "summary.json")
    summary["methods"]["classifsae"]["concepts"][0] |= of_concept
    write_json(run / "summary.json", summary)
    for command in (
        ("report", run, "--explained", 0),
        ("publish", run, "me/it", "--dry-run"),
        ("evaluate", "--run", run, "--evaluate.evals", "completeness,causality"),
    ):
        assert_told(cli(*command), "summary.json", words, "run `evaluate` again")


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("summary.json", {"hub_names": {}}, "summary.json is not what this version writes (hub_names"),
        ("evals/classifsae/completeness.json", {"eval_config": {}}, "completeness.json does not hold the settings"),
        ("evals/classifsae/completeness.json", {"eval_config": 1}, "completeness.json does not hold the settings"),
        ("evals/classifsae/causality.json", {"sae_cfg_dict": {"k": 1}}, "causality.json does not hold the settings"),
    ],
)
def test_results_that_lack_what_is_published_are_told(
    run: Path, name: str, change: dict[str, object], words: str
) -> None:
    write_json(run / name, {**read_json(run / name), **change})
    assert_told(cli("publish", run, "me/it", "--dry-run"), words)


@pytest.mark.parametrize("name", ["saes/classifsae/cfg.json", "saes/classifsae/sae_weights.safetensors"])
def test_a_pipe_in_the_place_of_a_file_is_named_and_not_waited_for(run: Path, name: str) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    assert_told(cli("explain", run, "a dog and a cat"), Path(name).name, "a pipe or a device")


@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors"])
def test_neither_is_a_pipe_in_an_sae_of_somebody_else(run: Path, tmp_path: Path, name: str) -> None:
    guest = Path(shutil.copytree(run / "saes" / "classifsae", tmp_path / "guest"))
    (guest / name).unlink()
    os.mkfifo(guest / name)
    with pytest.raises(UserError, match=f"{name} is a pipe or a device"):
        find_method(f"sae:{guest}")


def test_standard_input_and_columns_that_are_no_text_are_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a dog\n\xff\n")))
    assert_told(cli("score", run, "-"), "standard input cannot be read as text")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "a \\ud800"}\n')))
    assert_told(cli("score", run, "-"), "row 0 of -", "holds half a character")


def test_half_a_character_beside_the_texts_is_written_as_json_has_it(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b'{"text": "a dog and a cat", "id": "\\ud800"}\n')
    assert cli("score", run, tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl").code == 0
    assert '"id": "\\ud800"' in (tmp_path / "out.jsonl").read_text(encoding="utf-8")


def test_a_column_that_is_called_by_half_a_character_is_no_parquet(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b'{"text": "a dog and a cat", "\\ud800": 1}\n')
    ended = cli("score", run, tmp_path / "in.jsonl", "--out", tmp_path / "out.parquet")
    assert_told(ended, "the columns cannot be written as parquet", "write JSON lines")
    assert not (tmp_path / "out.parquet").exists()


def test_parquet_whose_words_are_no_utf_8_is_told(run: Path, tmp_path: Path) -> None:
    offsets, letters = pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff")
    pq.write_table(pa.table({"text": pa.StringArray.from_buffers(2, offsets, letters)}), tmp_path / "in.parquet")
    assert_told(cli("score", run, tmp_path / "in.parquet"), "in.parquet cannot be read as parquet")


@pytest.mark.parametrize(
    "command", [("evaluate", "--run", "a\0"), ("explain", "run", "\ud800"), ("score", "a" * 300, "-")]
)
def test_arguments_that_no_file_or_text_can_be_are_told(command: tuple[str, ...]) -> None:
    ended = cli(*command)
    assert_told(ended)
    assert ended.stderr.count("\n") == 1


def test_an_error_says_nothing_to_the_terminal_and_has_an_end() -> None:
    ended = cli("cache", "--run", "run", "--preset", "\x1b[31m" + "a" * 100_000)
    assert_told(ended, r"\x1b[31m")
    assert len(ended.stderr) < 2500


@pytest.mark.parametrize("name", ["[/red]", "[link=x]", "a [/] b\\", "\x1b[31m"])
def test_whatever_texts_classes_and_folders_are_called_is_printed_as_it_is(
    whole: Tiny, tmp_path: Path, test_data: TextData, name: str
) -> None:
    named = replace(test_data, class_names=tuple(f"{name}{number}" for number in range(3)))
    source = tmp_path / name
    model = yaml.safe_load(whole.settings.read_text(encoding="utf-8"))["classifier"]["model"]
    own = Path(shutil.copytree(model, tmp_path / "model"))
    (own / "classifier.json").unlink()
    for split in ("train", "test"):
        words = [named.class_names[label] for label in named.labels]
        write_csv(source / f"{split}.csv", named.texts, words)
    options = ["--config", whole.settings, "--classifier.model", own, "--data.source", source]
    made = cli("run", "--run", tmp_path / f"{name} run", *options, "--data.class_names", "null",
               "--prompt.template", "{text}\n\nTopic:", "--prompt.label_word", "<|{id}|>")  # fmt: skip
    assert made.code == 0, made.stderr
    run = tmp_path / f"{name} run"
    for command in (
        ("evaluate", "--run", run, "--data", source),
        ("compare", "--run", run, "--compare.methods", "classifsae,random_directions"),
        ("across", run, run, "--out", tmp_path / f"{name} out"),
        ("explain", run, f"{name} a dog and a cat", "--html", tmp_path / f"{name}.html"),
        ("name", run, 0, name),
        ("score", run, source / "test.csv", "--out", tmp_path / f"{name}.csv"),
        ("report", run, "--explained", 0, "--out", tmp_path / f"{name} page.html"),
        ("publish", run, "me/it", "--dry-run"),
    ):
        ended = cli(*command)
        assert ended.code == 0 or (command[0] == "across" and ended.code == 2), (command, ended.stderr)


def test_only_regular_files_of_utf_8_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes("é".encode("latin-1"))
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbf{}")
    for name, words in (("pipe", "a pipe or a device"), ("", "a folder"), ("latin", "no UTF-8"), ("no", "not exist")):
        with pytest.raises(UserError, match=words):
            read_text(tmp_path / name)
    with pytest.raises(UserError, match="pipe is a pipe"):
        refuse_devices(tmp_path)
    assert read_json(tmp_path / "marked") == {}


def test_json_is_read_as_deep_as_ours_is() -> None:
    assert parse_json("[" * 49 + "]" * 49)
    for n_lists in (60, 2000, 200_000):
        with pytest.raises(ValueError, match="nested"):
            parse_json("[" * n_lists + "]" * n_lists)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A copy of the packaged encoder."""
    return Path(shutil.copytree(packaged_model("all-MiniLM-L6-v2"), tmp_path / "encoder"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("modules.json", '{"a": 1}'),
        ("modules.json", '[{"path": ""}]'),
        ("modules.json", '[{"path": "", "type": 1}]'),
        ("config.json", "[1]"),
        ("config_sentence_transformers.json", "[1]"),
        ("config_sentence_transformers.json", None),
        ("tokenizer.json", '{"version": "1.0"}'),
    ],
)
def test_a_sentence_encoder_of_odd_files_is_told_and_not_waited_for(
    encoder: Path, name: str, content: str | None
) -> None:
    (encoder / name).unlink(missing_ok=True)
    if content is None:
        os.mkfifo(encoder / name)
    else:
        (encoder / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"the sentence encoder .* cannot be loaded"):
        embed_texts(["a dog"], str(encoder))


def test_a_sentence_encoder_whose_numbers_are_not_finite_is_told(encoder: Path) -> None:
    weights = load_file(encoder / "model.safetensors")
    broken = {name: value * torch.nan if value.is_floating_point() else value for name, value in weights.items()}
    save_file(broken, encoder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="gives numbers that are not finite"):
        embed_texts(["a dog"], str(encoder))


_COMMAND = (sys.executable, "-W", "ignore", "-m", "sae_lens_classif")


@pytest.mark.parametrize(
    ("shell", "code", "words"),
    [
        ("{command} score {run} {texts} >&-", 2, "standard output is closed"),
        ("{command} score {run} - <&-", 2, "standard input is closed"),
        ("{command} score {run} {texts} > /dev/full", 2, "no space is left"),
        ("{command} score {run} {texts} | true; exit ${{PIPESTATUS[0]}}", 0, ""),
    ],
)
@pytest.mark.slow
def test_standard_streams_that_are_closed_or_full_are_told(run: Path, shell: str, code: int, words: str) -> None:
    texts = run.parent / "in.jsonl"
    texts.write_text('{"text": "a dog and a cat"}\n' * 40, encoding="utf-8")
    written = shell.format(command=" ".join(_COMMAND), run=run, texts=texts)
    done = subprocess.run(["bash", "-c", written], capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert done.returncode == code and "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert (words in told[-1]) if words else not told, done.stderr


def test_an_address_of_the_hub_that_is_none_is_a_hub_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for address in ("http://[::1", "http://a:b", "not a url"):
        monkeypatch.setenv("HF_ENDPOINT", address)
        hub_is_reachable.cache_clear()
        assert not hub_is_reachable()
    hub_is_reachable.cache_clear()


def test_a_place_with_too_long_a_way_leads_nowhere(run: Path) -> None:
    write_json(run / "places.json", {"data.source": {"named": str(run / "gone"), "way": "a" * 5000}})
    assert found_places(run, RunConfig(data=DataConfig(str(run / "gone")))).data.source == str(run / "gone")
