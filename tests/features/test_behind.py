"""The features behind a class: the weights are the classifier's, the texts and tokens those of a slow reading."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sae_lens import SAE
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MaxAbsScaler

from sae_lens_classif.data.texts import TextData
from sae_lens_classif.features.behind import Behind, class_weights, features_behind
from sae_lens_classif.features.caching import cache_features
from sae_lens_classif.features.classifiers import ClassifierSettings, fit_classifier
from sae_lens_classif.features.pooling import Pooling
from sae_lens_classif.features.scores import Score
from sae_lens_classif.features.sources import SAESource, neuronpedia_id
from sae_lens_classif.features.store import FeatureStore
from sae_lens_classif.features.study import Approach, StudyRow
from sae_lens_classif.hooks.token_states import TokenReader, open_reader
from tests.fakes.models import write_model
from tests.features.test_caching import FIRST, write_sae
from tests.tiny_run import STRANGE

NAMES = ("animals", "weather")
LONG = "rain " * 20_000


def texts_of(n: int) -> TextData:
    random = np.random.default_rng(3)
    words = (["dog", "cat", "fox"], ["rain", "storm", "snow"])
    labels = np.arange(n) % 2
    texts = [" ".join([*random.choice(words[label], 3), "the", "quick"]) for label in labels]
    texts[:7] = [
        f"{strange} dog" if row % 2 == 0 else f"{strange} rain" for row, strange in enumerate((*STRANGE, LONG))
    ]
    texts[9] = texts[11]
    return TextData(tuple(texts), labels, NAMES)


@pytest.fixture(scope="module")
def data() -> TextData:
    return texts_of(60)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, reader: TokenReader) -> SAESource:
    name = write_sae(tmp_path_factory.mktemp("sae") / "one", FIRST)
    sae: SAE[Any] = SAE.load_from_disk(name)
    sae.cfg.metadata.neuronpedia_id = "gpt2-small/0-res"
    return SAESource(name, sae, reader)


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, reader: TokenReader, source: SAESource, data: TextData
) -> FeatureStore:
    poolings = [Pooling.of("max"), Pooling.of("sum")]
    return cache_features(reader, data, [source], poolings, tmp_path_factory.mktemp("features") / "train")


def behind(kind: str, store: FeatureStore, data: TextData, reader: TokenReader, source: SAESource, **of: Any) -> Behind:
    approach = Approach(f"{source.name}/{of.pop('pooling', 'max')}", **of)
    score = Score(0.5, (0.4, 0.6), 0.5, (0.4, 0.6), (0.5, 0.5))
    row = StudyRow(**asdict(approach), picked={}, cv_macro_f1=0.5, cv_range=(0.5, 0.5), score=score)
    settings = ClassifierSettings(kind)  # type: ignore[arg-type]  # one of three
    return features_behind((approach.name, row), store, data, reader, source, settings, {5: "five"})


@pytest.mark.parametrize("family", ["GPTNeoX", "Bert", "GPT2", "Llama"])
def test_a_text_is_the_tokens_whose_states_are_read(family: str, tmp_path: Path) -> None:
    head = {"Bert": "ForMaskedLM", "GPT2": "LMHeadModel"}.get(family, "ForCausalLM")
    write_model(tmp_path, family, head)
    reader = open_reader(str(tmp_path), device="cpu")
    for text in (*STRANGE, "The  quick\nbrown fox .", LONG, "<s> dog [CLS]"):
        for special in (False, True):
            (part,) = reader.read([text], [FIRST], special_tokens=special)
            pieces = reader.pieces(text, special_tokens=special)
            assert len(pieces) == int(part.lengths[0])
            if not special:
                assert (
                    text.startswith("".join(gap + token for gap, token in pieces)) or "[CLS]" in text or "<s>" in text
                )
    if family == "Bert":
        assert [token for _, token in reader.pieces("dog", special_tokens=True)] == ["[CLS]", "dog", "[SEP]"]


def test_weights_are_the_classifier_s() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(90) % 3
    dense = (random.random((90, 8)) < 0.3) * random.uniform(0.5, 2, (90, 8))
    dense[:, 2] = 3 * (labels == 1) * (random.random(90) < 0.9)
    dense[:, 6] = 5 * (labels == 2) * (random.random(90) < 0.8)
    rows = csr_array(dense.astype(np.float32))
    scaled = MaxAbsScaler().fit_transform(rows).toarray()

    logistic = fit_classifier(rows, labels, ClassifierSettings(n_features=2))
    assert set(logistic.features) == {2, 6}
    expected = LogisticRegression(C=logistic.picked["C"], class_weight="balanced", max_iter=2000).fit(
        scaled[:, [2, 6]], labels
    )
    np.testing.assert_allclose(class_weights(logistic, rows, labels), expected.coef_, atol=1e-4)

    two = labels % 2
    binary = fit_classifier(rows, two, ClassifierSettings())
    weights = class_weights(binary, rows, two)
    np.testing.assert_array_equal(weights[0], -weights[1])
    assert weights.shape == (2, 8) and weights[1].argmax() == 2, "class 1 is what was class 1"

    prototype = fit_classifier(rows, labels, ClassifierSettings("prototype"))
    unit = scaled / np.linalg.norm(scaled, axis=1, keepdims=True).clip(1e-12)
    by_hand = [unit[labels == one].mean(0) - unit[labels != one].mean(0) for one in range(3)]
    np.testing.assert_allclose(class_weights(prototype, rows, labels), by_hand, atol=1e-6)

    tree = fit_classifier(rows, labels, ClassifierSettings("tree"))
    weights = class_weights(tree, rows, labels)
    np.testing.assert_array_equal(weights.sum(axis=0), tree.pipeline[-1].feature_importances_)
    assert ((weights > 0).sum(axis=0) <= 1).all() and weights[1, 2] > 0.2 and weights[2, 6] > 0.2


@pytest.mark.parametrize(
    ("kind", "of"),
    [
        ("logistic", {}),
        ("logistic", {"n_features": 3, "pooling": "sum"}),
        ("prototype", {"threshold": 1.0}),
        ("tree", {}),
    ],
)
def test_texts_and_tokens_are_those_of_a_slow_reading(
    kind: str, of: dict[str, Any], store: FeatureStore, data: TextData, reader: TokenReader, source: SAESource
) -> None:
    found = behind(kind, store, data, reader, source, **of)
    assert Behind.model_validate(found.model_dump(mode="json")) == found
    assert [one.class_name for one in found.classes] == list(NAMES)
    rows: Any = store.read(f"{source.name}/{of.get('pooling', 'max')}")
    dense = rows.toarray()
    named = {weight.feature for one in found.classes for weight in one.weights}
    assert named == set(found.features) and (of.get("n_features") is None or len(named) <= 3)
    for number, one in enumerate(found.classes):
        weights = [weight.weight for weight in one.weights]
        assert len(weights) <= 10 and weights == sorted(weights, reverse=True) and all(value > 0 for value in weights)
        for weight in one.weights:
            active = dense[:, weight.feature] > (of.get("threshold") or 0)
            assert weight.rate_in_class == pytest.approx(active[data.labels == number].mean())
            assert weight.rate_elsewhere == pytest.approx(active[data.labels != number].mean())
    for index, feature in found.features.items():
        assert feature.index == index and feature.link == f"https://www.neuronpedia.org/gpt2-small/0-res/{index}"
        assert feature.name == ("five" if index == 5 else "")
        order = np.argsort(-dense[:, index], kind="stable")
        once = list({data.texts[row]: row for row in reversed(order)}.values())[::-1]
        expected = [row for row in sorted(once, key=lambda row: (-dense[row, index], row)) if dense[row, index] > 0][
            :10
        ]
        assert [example.row for example in feature.examples] == expected
        for example in feature.examples[:3]:
            acts = slowly(reader, source, data.texts[example.row], index)
            assert example.label == data.labels[example.row]
            assert example.pooled == pytest.approx(dense[example.row, index], abs=1e-4)
            assert example.activation == pytest.approx(max(acts), abs=1e-4)
            assert max(act for _, act in example.pieces) == pytest.approx(max(acts), abs=1e-4)
            token = reader.pieces(data.texts[example.row])[int(np.argmax(acts))][1].strip()
            assert not token or example.token == token


def slowly(reader: TokenReader, source: SAESource, text: str, feature: int) -> Sequence[float]:
    (part,) = reader.read([text], [source.hook])
    sae: SAE[Any] = SAE.load_from_disk(source.name)
    values: list[float] = torch.stack([sae.encode(token[None])[0] for token in part.streams[0]])[:, feature].tolist()
    return values


def test_a_text_without_an_end_is_shown_around_the_token_alone(
    store: FeatureStore, data: TextData, reader: TokenReader, source: SAESource
) -> None:
    found = behind("prototype", store, data, reader, source)
    shown = [example for feature in found.features.values() for example in feature.examples]
    assert len(found.model_dump_json()) < 1_000_000
    assert all(len("".join(piece for piece, _ in example.pieces)) <= 2 * 140 + 200 for example in shown)
    long = [example for example in shown if example.row == len(STRANGE)]
    assert long and all(example.is_cut[1] for example in long)
    short = [example for example in shown if example.row >= 12]
    assert short and all(example.is_cut == (False, False) for example in short)


def test_it_is_the_same_whenever_it_is_made(
    store: FeatureStore, data: TextData, reader: TokenReader, source: SAESource
) -> None:
    one, other = (behind("logistic", store, data, reader, source) for _ in range(2))
    assert one.model_dump_json() == other.model_dump_json()
    assert behind("tree", store, data, reader, source).made_from != one.made_from


@pytest.mark.parametrize(
    "given",
    [
        "../../x",
        "a/b/c",
        "a",
        "a/..",
        "javascript:alert(1)/x",
        "a/b?c",
        "a/b\n",
        "é/b",
        "a/" + "b" * 101,
        None,
        7,
        "/b",
    ],
)
def test_an_address_is_made_of_a_name_as_neuronpedia_has_them_alone(given: object) -> None:
    assert neuronpedia_id(given) is None


def test_names_of_neuronpedia_are_taken() -> None:
    for name in ("gemma-2-2b/12-gemmascope-res-16k", "gpt2-small/0-res_jb", "llama3.1-8b/15-llamascope-res-32k"):
        assert neuronpedia_id(name) == name
