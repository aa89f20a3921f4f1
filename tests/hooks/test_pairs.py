"""Texts that are pairs: read as transformers reads them, through every step, and refused where single ones are read."""

import csv
from pathlib import Path

import pytest
import torch

from sae_lens_classif import ClassifSAE
from sae_lens_classif.checksums import read_json
from sae_lens_classif.config.classifier import PAIR_MARK, DataConfig, PromptConfig
from sae_lens_classif.config.run import RunConfig
from sae_lens_classif.data.texts import load_text_data
from sae_lens_classif.errors import UserError
from sae_lens_classif.explaining.explain import explain
from sae_lens_classif.hooks.load import load_classifier
from tests.fakes.models import ENCODERS, NAMES, new_tokenizer, write_model
from tests.tiny_run import cli

PAIRS = [("the quick brown fox", "a dog"), ("rain", "storm over the bank . snow"), ("cat", "cat"), ("", "loan")]
TEXTS = [f"{first} {PAIR_MARK} {second}" for first, second in PAIRS]
WITH_PAIRS = PromptConfig(pairs=True)
TYPED = {"Albert", "Bert", "Deberta", "DebertaV2", "Electra"}  # as their own tokenizers give


def write_pair_model(folder: Path, family: str) -> torch.nn.Module:
    types = ["token_type_ids"] if family in TYPED else []
    model = write_model(folder, family, type_vocab_size=2 if family in TYPED else 1)
    names = ["input_ids", *types, "attention_mask"]
    new_tokenizer(int(model.config.pad_token_id or 0), model_input_names=names).save_pretrained(folder)
    return model


@pytest.mark.parametrize("family", [*sorted(ENCODERS), "GPT2"])
def test_a_pair_is_read_as_transformers_reads_it(family: str, tmp_path: Path) -> None:
    model = write_pair_model(tmp_path, family)
    classifier = load_classifier(tmp_path, prompt=WITH_PAIRS)
    tokenizer = new_tokenizer(int(model.config.pad_token_id or 0))  # type: ignore[union-attr,arg-type]
    tokenizer.model_input_names = ["input_ids", *(["token_type_ids"] if family in TYPED else []), "attention_mask"]
    ids = classifier.inputs(TEXTS)
    hidden, logits = classifier.states_and_logits(ids)
    with torch.no_grad():
        expected = [model(**tokenizer(first, second, return_tensors="pt")).logits[0] for first, second in PAIRS]
    torch.testing.assert_close(logits, torch.stack(expected), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(classifier.logits_from(hidden, classifier.context(ids)), logits, rtol=1e-5, atol=1e-5)
    if family in TYPED:
        plain = load_classifier(tmp_path)
        without = plain.states_and_logits(ids).logits
        assert (without - logits).abs().max() > 1e-3, "types make a difference"
        assert classifier.prompt_fingerprint() != plain.prompt_fingerprint()


def test_of_a_pair_that_is_too_long_the_longer_text_is_cut(tmp_path: Path) -> None:
    write_pair_model(tmp_path, "Bert")
    classifier = load_classifier(tmp_path, prompt=PromptConfig(pairs=True, max_tokens=8))
    tokenizer = new_tokenizer(0)
    (ids,) = classifier.inputs([f"fox fox fox fox fox fox fox {PAIR_MARK} dog dog"])
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", *["fox"] * 3, "[SEP]", *["dog"] * 2, "[SEP]"]


def test_a_first_text_with_the_mark_between_the_two_is_refused(tmp_path: Path) -> None:
    write_pair_model(tmp_path, "Bert")
    inputs = load_classifier(tmp_path, prompt=WITH_PAIRS).inputs
    inputs([f"fox {PAIR_MARK} dog [SEP] cat"])  # after the mark it shifts nothing
    with pytest.raises(UserError, match=r"holds \[SEP\] .*'fox \[SEP\] dog'.*take it out"):
        inputs([f"a {PAIR_MARK} cat", f"fox [SEP] dog {PAIR_MARK} cat"])


def test_single_texts_and_pairs_are_not_taken_for_each_other(tmp_path: Path) -> None:
    write_pair_model(tmp_path, "Bert")
    with pytest.raises(UserError, match=f"a text holds 0 times {PAIR_MARK}.*pairs are read here"):
        load_classifier(tmp_path, prompt=WITH_PAIRS).inputs(["a dog"])
    with pytest.raises(UserError, match=f"a text holds 1 times {PAIR_MARK}.*single texts are read here"):
        load_classifier(tmp_path).inputs(TEXTS)
    write_model(tmp_path / "decoder", "GPTNeoX", "ForCausalLM")
    with pytest.raises(UserError, match=r"pairs .*which a model with a head reads"):
        load_classifier(tmp_path / "decoder", NAMES, WITH_PAIRS)


@pytest.fixture
def pairs(tmp_path: Path) -> DataConfig:
    """Is the animal of the second text a pet? That of the first says nothing."""
    animals, rows = ("fox", "dog", "cat", "horse"), []
    for number in range(240):
        second = animals[number // 4 % 4]
        rows.append((f"the {animals[number % 4]}", f"a {second}", "pet" if second in ("dog", "cat") else "other"))
    for split in ("train", "test"):
        with (tmp_path / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("premise", "hypothesis", "label"), *rows])
    return DataConfig(str(tmp_path), text_column="premise", text_pair_column="hypothesis")


def test_two_columns_become_pairs(pairs: DataConfig) -> None:
    data = load_text_data(pairs, "train")
    assert data.texts[0] == f"the fox {PAIR_MARK} a fox" and data.class_names == ("other", "pet")
    assert RunConfig(data=pairs).prompt == WITH_PAIRS and not RunConfig().prompt.pairs
    pairs.text_pair_column = "hypotheses"
    with pytest.raises(UserError, match=r"no column 'hypotheses' .*'hypothesis'"):
        load_text_data(pairs, "train")
    with pytest.raises(UserError, match="bbc_news has single texts"):
        load_text_data(DataConfig(text_pair_column="b"), "train")
    file = Path(pairs.source) / "test.csv"
    file.write_text(file.read_text().replace("the cat", f"the {PAIR_MARK}", 1))
    with pytest.raises(UserError, match=f"row 2 of .* holds {PAIR_MARK}"):
        load_text_data(DataConfig(pairs.source, text_column="premise", text_pair_column="hypothesis"), "test")


def test_pairs_go_the_whole_way(pairs: DataConfig, tmp_path: Path) -> None:
    write_pair_model(tmp_path / "base", "Bert")
    run, texts = tmp_path / "run", ("premise", "hypothesis")
    done = cli(
        "run", "--run", run, "--data.source", pairs.source, "--data.text_column", texts[0],
        "--data.text_pair_column", texts[1], "--finetune.base_model", tmp_path / "base", "--finetune.max_steps", "200",
        "--finetune.batch_size", "24", "--finetune.lr", "2e-3", "--train.total_samples", "3000",
        "--train.batch_size", "50", "--evaluate.n_bootstrap", "20", "--evaluate.figures", "false",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    summary = read_json(run / "summary.json")
    assert summary["methods"]["classifsae"]["original_accuracy"] > 0.9 and summary["prompt"]["pairs"]
    text = f"the fox {PAIR_MARK} a cat"
    done = cli("explain", run, text)
    assert done.code == 0 and "pet" in done.stdout, done.stderr
    explained = explain(
        ClassifSAE.load_from_disk(run / "saes" / "classifsae"), load_classifier(run / "classifier"), text
    )
    assert explained.words == ("the", "fox", PAIR_MARK, "a", "cat")
    assert all(concept.words[2] == 0 for concept in explained.concepts)
    assert cli("report", run).code == 0
    refused = cli("explain", run, "the fox")
    assert refused.code == 2 and "pairs are read here" in refused.stderr
