"""Texts as people have them in Python."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

import sae_lens_classif as slc
from sae_lens_classif.config.classifier import DataConfig
from sae_lens_classif.config.run import EvaluateConfig
from sae_lens_classif.data.given import write_given
from sae_lens_classif.data.splitting import held_out_rows
from sae_lens_classif.data.texts import TextData, load_column, load_text_data
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.methods.random_directions import RandomDirections
from sae_lens_classif.store.caching import cache_states
from sae_lens_classif.store.store import ActivationStore

TEXTS = [f"text {number}" for number in range(20)]
LABELS = ["good" if number % 4 else "bad" for number in range(20)]
ROWS = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]


def loaded(data: Any, folder: Path, **settings: Any) -> tuple[TextData, TextData]:
    cfg = write_given(data, folder / "data", DataConfig(**settings))
    return load_text_data(cfg, "train"), load_text_data(cfg, "test")


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame(ROWS),
        pd.DataFrame(ROWS).astype({"label": "category"}).set_index(np.arange(100, 120)),
        datasets.Dataset.from_list(ROWS),
        datasets.Dataset.from_list(ROWS).class_encode_column("label"),
        (TEXTS, LABELS),
        (tuple(TEXTS), np.array(LABELS)),
        [TEXTS, pd.Series(LABELS)],
        ROWS,
        TextData(tuple(TEXTS), np.array([label == "good" for label in LABELS], dtype=np.int64), ("bad", "good")),
    ],
    ids=["frame", "categories", "dataset", "class labels", "pair", "arrays", "series", "dicts", "TextData"],
)
def test_one_table_is_split_with_each_label_alike(data: Any, tmp_path: Path) -> None:
    train, test = loaded(data, tmp_path)
    assert sorted([*train.texts, *test.texts]) == sorted(TEXTS) and train.class_names == test.class_names == (
        "bad",
        "good",
    )
    assert np.bincount(test.labels).tolist() == [1, 3] and np.bincount(train.labels).tolist() == [4, 12]
    for text, label in zip((*train.texts, *test.texts), (*train.labels, *test.labels), strict=True):
        assert LABELS[TEXTS.index(text)] == ("bad", "good")[label]


def test_splits_that_are_given_are_kept(tmp_path: Path) -> None:
    splits = {"train": (TEXTS[:12], LABELS[:12]), "test": pd.DataFrame(ROWS[12:])}
    train, test = loaded(splits, tmp_path / "a")
    assert list(train.texts) == TEXTS[:12] and list(test.texts) == TEXTS[12:]
    of_datasets = datasets.DatasetDict(
        {"train": datasets.Dataset.from_list(ROWS[:12]), "test": datasets.Dataset.from_list(ROWS[12:])}
    )
    assert loaded(of_datasets, tmp_path / "b")[1].texts == test.texts


def test_a_single_file_is_split_the_same_every_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pd.DataFrame(ROWS).to_csv(tmp_path / "tweets.csv", index=False)
    caplog.set_level("INFO")
    first = loaded(tmp_path / "tweets.csv", tmp_path)
    assert "tweets.csv has no test texts: 4 of its 20 rows are held out" in caplog.text
    assert [data.texts for data in first] == [data.texts for data in loaded(str(tmp_path / "tweets.csv"), tmp_path)]
    half = loaded(tmp_path / "tweets.csv", tmp_path, test_share=0.5)
    assert len(half[1]) == 11, "of each label half, rounded up"


def test_several_labels_and_other_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame({"body": TEXTS, "toxic": [0, 1] * 10, "insult": [0, 0, 1, 1] * 5})
    train, test = loaded(frame, tmp_path / "a", text_column="body", label_columns=("toxic", "insult"))
    assert (
        train.multi_label
        and sorted(set(test.labels.tolist())) == [0, 1, 2, 3]
        and test.class_names == ("toxic", "insult")
    )
    again, _ = loaded(TextData(train.texts, train.labels, train.class_names, True), tmp_path / "b")
    assert again.multi_label and set(again.class_names) == {"toxic", "insult"}


def test_labels_with_a_single_row_are_split_together() -> None:
    rows = held_out_rows([0] * 10 + [1], 0.2)
    assert len(rows) == 2 and 10 not in rows, "one alone stays in training"
    assert len(held_out_rows(range(10), 0.2)) == 2
    assert len(held_out_rows([3], 0.5)) == 0
    assert held_out_rows([0, 0, 1], 1.0).tolist() == [0, 1, 2]


def test_both_splits_have_all_classes_of_the_file_also_where_one_has_a_single_text(tmp_path: Path) -> None:
    train, test = loaded(([*TEXTS, "a rare text"], [*LABELS, "rare"]), tmp_path)
    assert train.class_names == test.class_names == ("bad", "good", "rare")
    with pytest.raises(UserError, match=r"no train text is left of the 20 .*data\.test_share"):
        loaded((TEXTS, LABELS), tmp_path / "all", test_share=1.0)


def test_the_order_of_classes_is_kept(tmp_path: Path) -> None:
    names = ("positive", "negative", "neutral")
    data = TextData(tuple(TEXTS), np.arange(20) % 3, names)
    train, test = loaded(data, tmp_path / "a")
    assert train.class_names == test.class_names == names
    assert [names[label] for label in train.labels] == [names[TEXTS.index(text) % 3] for text in train.texts]
    numbers = pd.DataFrame({"text": [f"text {n}" for n in range(48)], "label": pd.Categorical(np.arange(48) % 12)})
    train, _ = loaded(numbers, tmp_path / "b")
    assert train.class_names[10] == "10"
    for text, label in zip(train.texts, train.labels, strict=True):
        assert int(text.split()[1]) % 12 == label


def test_columns_of_labels_may_come_in_another_order_than_the_classes(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": TEXTS, "anger": [1, 0] * 10, "joy": [0, 1] * 10})
    train, _ = loaded(frame, tmp_path, label_columns=("anger", "joy"), class_names=("joy", "anger"))
    for text, label in zip(train.texts, train.labels, strict=True):
        assert train.rule.in_words(int(label), train.class_names) == ("joy" if int(text.split()[1]) % 2 else "anger")


def test_what_is_in_the_folder_is_left_alone_and_other_data_go_beside_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious.txt").write_text("mine")
    first = write_given((TEXTS, LABELS), tmp_path / "data", DataConfig())
    other = write_given((TEXTS[::-1], LABELS), tmp_path / "data", DataConfig())
    again = write_given((TEXTS, LABELS), tmp_path / "data", DataConfig())
    assert first.source == again.source != other.source and Path(first.source).is_absolute()
    assert (tmp_path / "data" / "precious.txt").read_text() == "mine" and Path(first.source).is_file()


def test_a_file_is_not_split_where_its_parts_are_named(tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_csv(tmp_path / "train.csv", index=False)
    with pytest.raises(UserError, match=r"data\.train or data\.test is 'test\.csv'; give the folder"):
        load_text_data(DataConfig(str(tmp_path / "train.csv"), test="test.csv"), "test")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "type int; give a pandas DataFrame or a datasets.Dataset"),
        (TEXTS, "type list; give"),
        ((TEXTS, LABELS[:3]), "20 texts and 3 labels"),
        ({"train": (TEXTS, LABELS)}, "a dict with train; it must have train and test"),
        (pd.DataFrame({"tweet": TEXTS, "label": LABELS}), "no column 'text'"),
        (np.zeros(3), "type ndarray"),
        ([], "type list"),
        (([], []), "the texts of data are none at all"),
        ({"train": (TEXTS, LABELS), "test": pd.DataFrame(ROWS[:0])}, "the test of data are none at all"),
    ],
)
def test_anything_else_is_refused_with_a_list_of_what_is_taken(data: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        loaded(data, tmp_path)


METHOD = RandomDirections(torch.eye(4, 32), torch.zeros(32))
_TABLES = ("pandas DataFrame", "datasets.Dataset", "pair of lists", "list of dicts", "TextData")
_ALL = (*_TABLES, "train and test", "DatasetDict", "path", "name on the Hub")
_TEXTS = ("a text", "list or a column of texts", "pandas DataFrame", "datasets.Dataset", "TextData")


@pytest.mark.parametrize("data", [3, np.zeros(3), None], ids=["number", "array", "none"])
@pytest.mark.parametrize(
    ("take", "kinds"),
    [
        (lambda data, _: slc.make_run("run", data if data is not None else object()), _ALL),
        (lambda data, _: slc.make_run("run", settings={"data.source": data}), _TABLES),
        (lambda data, _: slc.DataConfig(source=data), _TABLES),
        (lambda data, _: slc.load_text_data(data, "test"), _TABLES),
        (lambda data, model: slc.cache_states(model, data, "states"), _TABLES),
        (lambda data, model: slc.evaluate(METHOD, model, ANY, data), _TABLES),
        (lambda data, model: slc.explain(METHOD, model, data), _TEXTS),
        (lambda data, model: list(slc.score(METHOD, model, data)), _TEXTS),
    ],
    ids=["make_run", "settings", "DataConfig", "load_text_data", "cache_states", "evaluate", "explain", "score"],
)
def test_every_function_that_takes_texts_says_what_it_takes(
    data: Any,
    take: Callable[[Any, TextClassifier], object],
    kinds: tuple[str, ...],
    classifier: TextClassifier,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if isinstance(data, np.ndarray) and kinds is _TEXTS:
        data = {"text": "a dict"}  # an array may hold texts
    with pytest.raises(UserError) as refused:
        take(data, classifier)
    assert [kind for kind in kinds if kind not in str(refused.value)] == []
    assert list(tmp_path.rglob("*.parquet")) == []


def test_states_of_a_data_frame_are_those_of_its_texts(
    classifier: TextClassifier, test_data: TextData, test_store: ActivationStore, tmp_path: Path
) -> None:
    names = [test_data.class_names[label] for label in test_data.labels]
    frame = pd.DataFrame({"text": test_data.texts, "label": names}, index=range(90, 0, -1))
    for data in (frame, datasets.Dataset.from_pandas(frame), (test_data.texts, test_data.labels)):
        assert cache_states(classifier, data, tmp_path / "states").fingerprints == test_store.fingerprints
    cfg = EvaluateConfig(evals=("completeness",), n_bootstrap=2)
    found, expected = (slc.evaluate(METHOD, classifier, test_store, data, cfg) for data in (frame, test_data))
    assert found.metrics == expected.metrics
    for data in (str(tmp_path), {"train": frame, "test": frame}):
        with pytest.raises(UserError, match="give the texts of one split: a pandas DataFrame"):
            cache_states(classifier, data, tmp_path / "other")
    with pytest.raises(UserError, match="no column 'label' in data"):
        cache_states(classifier, frame[["text"]], tmp_path / "other")
    with pytest.raises(UserError, match="other texts than those given"):
        slc.evaluate(METHOD, classifier, test_store, frame[::-1], cfg)


@pytest.mark.parametrize("maximum", [None, 7])
def test_another_column_has_a_value_for_each_text_of_the_split(tmp_path: Path, maximum: int | None) -> None:
    rows = [{"text": f"text {row}", "label": row % 3, "lang": f"of {row}"} for row in range(60)]
    cfg = write_given(rows, tmp_path, DataConfig(max_test_texts=maximum))
    for split in ("train", "test"):
        texts = load_text_data(cfg, split).texts
        assert [f"text {value.split()[1]}" for value in load_column(cfg, split, "lang")] == list(texts)
    with pytest.raises(UserError, match=r"no column 'land'.*'lang'"):
        load_column(cfg, "test", "land")
    with pytest.raises(UserError, match="bbc_news, which has texts and labels alone"):
        load_column(DataConfig(source="bbc_news"), "test", "lang")
