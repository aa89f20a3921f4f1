"""Whose SAE is it: one of another model is refused by name, and none of the model itself, whatever it is called."""

import logging
from pathlib import Path
from typing import Any

import pytest

from sae_lens_classif.errors import UserError
from sae_lens_classif.features.sources import open_source
from sae_lens_classif.hooks.token_states import TokenReader, open_reader
from tests.fakes.models import WIDTH, write_model
from tests.features.test_caching import FIRST, write_sae

PYTHIA = "EleutherAI/pythia-70m"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-NeoX, as Pythia is one, a GPT-2, and a GPT-NeoX of more blocks."""
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "pythia-70m", "GPTNeoX", "ForCausalLM")
    write_model(folder / "gpt2", "GPT2", "LMHeadModel")
    write_model(folder / "deep", "GPTNeoX", "ForCausalLM", num_hidden_layers=5)
    return folder


@pytest.fixture(scope="module")
def reader(folder: Path) -> TokenReader:
    return open_reader(str(folder / "pythia-70m"), device="cpu", backend="transformers")


def opened(tmp_path: Path, reader: TokenReader, named: str | None) -> Any:
    return open_source(write_sae(tmp_path / "sae", FIRST, named=named), reader)


@pytest.mark.parametrize(
    "named", [None, "", PYTHIA, "pythia-70m", "Pythia-70M", "somebody/pythia-70m", "/data/pythia-70m"]
)
def test_the_same_model_by_any_of_its_names_is_taken_without_a_word(
    reader: TokenReader, tmp_path: Path, caplog: pytest.LogCaptureFixture, named: str | None
) -> None:
    assert opened(tmp_path, reader, named).width == 48
    assert caplog.text == ""


@pytest.mark.parametrize(
    "named",
    [
        "EleutherAI/pythia-70m-deduped",  # another training of the same architecture
        "pythia-410m",  # of the same architecture; its depth is not known here
        "demo/classifier", "model", "somebody/else", "outputs", "../models/one",  # nobody knows them
    ],
)  # fmt: skip
def test_where_a_model_may_be_the_same_or_tuned_from_it_both_names_are_told(
    reader: TokenReader, tmp_path: Path, caplog: pytest.LogCaptureFixture, named: str
) -> None:
    with caplog.at_level(logging.WARNING):
        assert opened(tmp_path, reader, named).width == 48
    assert f"says that it is of {named}, and {reader.name} is read" in caplog.text


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("gpt2-small", "of gpt2-small, a GPT2, and this is a GPTNeoX; give an SAE of this model"),
        ("openai-community/gpt2", "of openai-community/gpt2, a GPT2, and this"),
        ("gemma-2-2b", "of gemma-2-2b, a Gemma2, and this"),
        ("meta-llama/Llama-3.1-8B", "a Llama, and this"),
    ],
)
def test_an_sae_of_another_architecture_is_refused_with_both_named(
    reader: TokenReader, tmp_path: Path, named: str, words: str
) -> None:
    with pytest.raises(UserError, match=f"sae is of another model than {reader.name}: it is .*{words}"):
        opened(tmp_path, reader, named)


def test_a_folder_that_is_named_and_there_is_looked_at(reader: TokenReader, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a GPT2, and this is a GPTNeoX"):
        opened(tmp_path, reader, str(folder / "gpt2"))
    assert opened(tmp_path, reader, str(folder / "deep")).width == 48, "these may be its first three blocks"
    deep = open_reader(str(folder / "deep"), device="cpu", backend="transformers")
    with pytest.raises(UserError, match="which has 3 blocks, and this has 5"):
        opened(tmp_path, deep, str(folder / "pythia-70m"))
    assert deep.d_model == WIDTH


def test_the_first_blocks_of_a_model_that_is_known_by_its_name_are_another_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EleutherAI").mkdir()
    (tmp_path / "EleutherAI" / "pythia-70m").symlink_to(folder / "pythia-70m")
    known = open_reader(PYTHIA, device="cpu", backend="transformers")
    with pytest.raises(UserError, match=r"of another model than EleutherAI/pythia-70m: .*has 5 blocks, and this has 3"):
        opened(tmp_path, known, str(folder / "deep"))


def test_a_tuned_copy_with_a_head_is_of_its_base(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_model(tmp_path / "tuned", "GPT2", "ForSequenceClassification")
    tuned = open_reader(str(tmp_path / "tuned"), device="cpu", backend="transformers")
    assert opened(tmp_path, tuned, "gpt2-small").width == 48
    assert "says that it is of gpt2-small" in caplog.text
