"""Settings that hold more than any settings do are refused before they are made."""

from pathlib import Path

import pytest

from sae_lens_classif.config.yaml import config_of, read_yaml, yaml_value
from sae_lens_classif.errors import UserError

_ALIASES = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_ALIASES, "more than 100,000 values"),
        ("&a [*a]", "nested deeper than 50"),
        ("[" * 100_000, "nested deeper than 50"),
        ("- " * 5000 + "a", "nested deeper than 50"),
        ("[" + "1," * 200_000 + "]", "more than 100,000 values"),
        ("sae: " + "9" * 6000, "a value cannot be read"),
        ("sae: !!timestamp x", "a value cannot be read"),
    ],
)
def test_a_file_that_names_more_than_any_settings_is_refused(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=f"is not valid YAML: {words}"):
        read_yaml(file)


def test_a_file_that_is_too_large_no_file_or_no_text_is_refused(tmp_path: Path) -> None:
    large, latin = tmp_path / "large.yaml", tmp_path / "latin.yaml"
    large.write_bytes(b"#" * (2**20 + 1))
    latin.write_bytes("data: {source: é}".encode("latin-1"))
    for file, words in ((large, "1,048,577 bytes; it may have 1,048,576"), (latin, "no UTF-8"), (tmp_path, "a folder")):
        with pytest.raises(UserError, match=words):
            read_yaml(file)


def test_anchors_that_stand_for_little_are_read() -> None:
    assert yaml_value("{a: &a [1, 2], b: [*a, *a]}") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


@pytest.mark.parametrize("word", ["[" * 100_000, '{"a":' * 50_000, "&a [*a]"])
@pytest.mark.parametrize("setting", ["sae.k", "data.source", "sweep.grid", "compare.seeds", "data.class_names"])
def test_words_that_would_be_read_without_an_end_are_refused(setting: str, word: str) -> None:
    section, _, name = setting.partition(".")
    for layers, options in (
        ([], [f"--{setting}", word]),
        ([], [f"--{setting}={word}"]),
        ([("here", {section: {name: word}})], []),
    ):
        with pytest.raises(UserError, match="nested deeper than 50"):
            config_of(*layers, options=options)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("train.lr", ".inf", "train.lr is inf; it must be a number, not infinite"),
        ("finetune.epochs", "1e400", "finetune.epochs is inf"),
        ("sae.mse_coefficient", "1e308", "of 15 digits at most"),
        ("train.seed", str(2**64), "of 15 digits at most"),
        ("compare.seeds", f"0,{10**400}", "of 15 digits at most"),
        ("data.source", "a" * 300, "is too long"),
        ("classifier.model", "a/" * 3000, "is too long"),
        ("compare.methods", "sae:" + "a" * 300, "is too long"),
        ("data.text_column", "a\0", "holds a NUL character"),
        ("prompt.template", "{text}\ud800", "is no UTF-8"),
        ("sweep.grid", str({f"sae.{n}": list(range(1, 101)) for n in "abc"}), "has 1,000,000 cells; it may have"),
    ],
)
def test_a_value_that_cannot_be_is_refused_wherever_it_comes_from(setting: str, value: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        config_of(options=[f"--{setting}={value}"])
