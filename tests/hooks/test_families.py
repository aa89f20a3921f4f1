"""Encoders and decoders of transformers: states, logits and what follows from replaced states are the model's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import processors
from transformers import (
    AutoModelForSequenceClassification,
    GPT2Config,
    PreTrainedConfig,
    PreTrainedModel,
    SqueezeBertConfig,
    T5Config,
    T5ForSequenceClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
    XLNetConfig,
)

from sae_lens_classif.config.classifier import PromptConfig
from sae_lens_classif.config.methods import BaselineConfig
from sae_lens_classif.config.run import EvaluateConfig, SAESettings, TrainConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.evaluate import evaluate
from sae_lens_classif.hooks.backends import ModelRequest
from sae_lens_classif.hooks.backends.hooked_transformer import HookedTransformerClassifier
from sae_lens_classif.hooks.backends.transformers import PromptClassifier
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.inputs import PlainTexts, PromptTokenizer
from sae_lens_classif.hooks.load import load_classifier
from sae_lens_classif.methods.base import FitTask
from sae_lens_classif.methods.classif_sae import ClassifSAEConcepts
from sae_lens_classif.store.store import ActivationStore
from tests.fakes.models import DECODERS, ENCODERS, N_LAYERS, NAMES, WIDTH, new_model, new_tokenizer, write_model

TEXTS = ("the quick brown fox", "dog", "rain storm over the lazy dog . bank loan", "a cat of the bank . snow", "")
HOOKS = [*(f"blocks.{layer}.hook_resid_pre" for layer in range(N_LAYERS)), f"blocks.{N_LAYERS - 1}.hook_resid_post"]
ANSWERS = PromptConfig(template="{text} price ", label_words=("fox", "rain", "loan"))

BACKENDS = ("hooked_transformer", "transformers")

every_head = pytest.mark.parametrize("family", sorted(ENCODERS | DECODERS))
every_decoder = pytest.mark.parametrize("family", sorted(DECODERS))
every_hook = pytest.mark.parametrize("hook", HOOKS)
Open = Callable[..., tuple[PreTrainedModel, TextClassifier]]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Writes a model with a head and opens it."""

    def open_(family: str, hook: str | None = None, **changes: Any) -> tuple[PreTrainedModel, TextClassifier]:
        model = write_model(tmp_path / family, family, **changes)
        return model, load_classifier(tmp_path / family, hook=hook)

    return open_


@torch.no_grad()
def own(model: PreTrainedModel, ids: list[list[int]], hook: str, position: Callable[[int], int]) -> list[torch.Tensor]:
    """A model's states at a hook, by transformers' ``hidden_states`` or a hook on its last block, and its logits."""
    states, logits, last = [], [], list[torch.Tensor]()
    blocks = next(module for module in model.modules() if isinstance(module, torch.nn.ModuleList))
    keep = lambda _, __, given: last.append(given[0] if isinstance(given, tuple) else given)  # noqa: E731
    with blocks[-1].register_forward_hook(keep):
        for one in ids:
            given = model(input_ids=torch.tensor([one]), output_hidden_states=True)
            at_hook = last[-1] if hook.endswith("post") else given.hidden_states[int(hook.split(".")[1])]
            states.append(at_hook[0, position(len(one))])
            logits.append(given.logits[0])
    return [torch.stack(states), torch.stack(logits)]


@every_head
@every_hook
def test_states_and_logits_are_the_model_s_own_in_any_batch(opened: Open, family: str, hook: str) -> None:
    model, classifier = opened(family, hook)
    ids = classifier.inputs(TEXTS)
    hidden, logits = classifier.states_and_logits(ids)
    expected, own_logits = own(model, ids, hook, (lambda n: 0) if family in ENCODERS else (lambda n: n - 1))
    torch.testing.assert_close(hidden, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits, own_logits, rtol=1e-5, atol=1e-5)
    assert logits.std(dim=0).min() > 1e-3, "texts are told apart"
    assert (classifier.hook_name, classifier.d_model, classifier.class_names) == (hook, WIDTH, NAMES)


@every_head
@every_hook
def test_an_unchanged_state_put_back_changes_no_logit_and_gradients_flow_to_it(
    opened: Open, family: str, hook: str
) -> None:
    _, classifier = opened(family, hook)
    ids = classifier.inputs(TEXTS)
    hidden, logits = classifier.states_and_logits(ids)
    hidden.requires_grad_()
    back = classifier.logits_from(hidden, classifier.context(ids))
    torch.testing.assert_close(back, logits, rtol=1e-5, atol=1e-5)
    (slope,) = torch.autograd.grad(back[:, 0].sum(), hidden)
    assert slope.isfinite().all() and (slope.norm(dim=1) > 0).all()
    chosen = torch.tensor([3, 0, 3])
    some = classifier.logits_from(hidden[chosen], classifier.context(ids).select(chosen))
    torch.testing.assert_close(some, logits[chosen], rtol=1e-5, atol=1e-5)


@every_head
@every_hook
def test_a_state_alone_is_a_sequence_of_one_token(opened: Open, family: str, hook: str) -> None:
    """The unchanged state of a text of one token is the whole text, whatever the others in the batch are."""
    _, classifier = opened(family, hook)
    one = [[7], [9]]
    hidden, logits = classifier.states_and_logits(one)
    torch.testing.assert_close(classifier.logits_from(hidden), logits, rtol=1e-5, atol=1e-5)
    more = torch.cat([hidden, classifier.states_and_logits(classifier.inputs(TEXTS)).hidden])
    torch.testing.assert_close(classifier.logits_from(more)[:2], logits, rtol=1e-5, atol=1e-5)


@every_head
def test_a_replaced_state_changes_what_the_model_says(opened: Open, family: str) -> None:
    _, classifier = opened(family, HOOKS[1])
    ids = classifier.inputs(TEXTS)
    hidden, logits = classifier.states_and_logits(ids)
    changed = classifier.logits_from(-3 * hidden.flip(0), classifier.context(ids))
    assert (changed - logits).abs().max() > 0.01


@every_decoder
def test_padding_on_the_left_or_the_right_is_the_same_to_the_model(opened: Open, family: str) -> None:
    """transformers' own batches, in which it finds the last token by itself, give what is read here."""
    model, classifier = opened(family)
    ids = classifier.inputs(TEXTS)
    longest = max(map(len, ids))
    logits = classifier.states_and_logits(ids).logits
    for side in ("left", "right"):
        padded = [
            [0] * (longest - len(one)) + one if side == "left" else one + [0] * (longest - len(one)) for one in ids
        ]
        mask = torch.tensor(padded) != 0
        places = (mask.cumsum(dim=1) - 1).clamp(min=0)
        counted = {} if family in ("Bloom", "OPT") else {"position_ids": places}  # these count by the mask
        with torch.no_grad():
            given = model(input_ids=torch.tensor(padded), attention_mask=mask.long(), **counted).logits
        torch.testing.assert_close(logits, given, rtol=1e-5, atol=1e-5)


def test_the_last_token_is_found_where_it_is_the_padding_token(tmp_path: Path) -> None:
    """Where padding is the end of a sequence, as in GPT-2, transformers would take an earlier token of the text."""
    model = write_model(tmp_path, "GPT2", pad_token_id=3)
    new_tokenizer(0).save_pretrained(tmp_path)  # whose third token ends every text
    classifier = load_classifier(tmp_path)
    ids = classifier.inputs(["the dog", "rain storm over the lazy dog"])
    assert [one[-1] for one in ids] == [3, 3]
    hidden = classifier.states_and_logits(ids).hidden
    for one, state in zip(ids, hidden, strict=True):
        with torch.no_grad():
            whole = model(input_ids=torch.tensor([one]), output_hidden_states=True).hidden_states[N_LAYERS - 1]
        torch.testing.assert_close(state, whole[0, -1], rtol=1e-5, atol=1e-5)


@every_head
def test_the_default_hook_is_the_last_block_s_output_of_encoders_and_input_of_decoders(
    opened: Open, family: str
) -> None:
    _, classifier = opened(family)
    assert classifier.hook_name == HOOKS[-1 if family in ENCODERS else -2]
    assert classifier.n_blocks_after_hook == (0 if family in ENCODERS else 1)


def test_a_mean_over_all_tokens_is_a_state_of_its_own(opened: Open) -> None:
    model, classifier = opened("ModernBert", classifier_pooling="mean")
    ids = classifier.inputs(TEXTS)
    hidden, logits = classifier.states_and_logits(ids)
    for one, state, own_logits in zip(ids, hidden, logits, strict=True):
        with torch.no_grad():
            given = model(input_ids=torch.tensor([one]))
            pooled = model.get_submodule("model")(input_ids=torch.tensor([one])).last_hidden_state.mean(dim=1)
        torch.testing.assert_close(state, pooled[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(own_logits, given.logits[0], rtol=1e-5, atol=1e-5)
    hidden.requires_grad_()
    for context in (None, classifier.context(ids)):
        back = classifier.logits_from(hidden, context)
        torch.testing.assert_close(back, logits, rtol=1e-5, atol=1e-5)
        assert torch.autograd.grad(back.sum(), hidden)[0].norm(dim=1).min() > 0
    assert classifier.hook_name == "hook_pooled"


def test_a_block_below_a_mean_cannot_be_explained(opened: Open) -> None:
    with pytest.raises(UserError, match=r"mean over all tokens.*'blocks\.1\.hook_resid_pre'.*valid: hook_pooled"):
        opened("ModernBert", HOOKS[1], classifier_pooling="mean")


# --- decoders with label tokens ---


@every_decoder
@every_hook
def test_label_tokens_are_answered_as_the_model_would(family: str, hook: str) -> None:
    model = new_model(family, "LMHeadModel" if family == "GPT2" else "ForCausalLM")
    prompts = PromptTokenizer(new_tokenizer(0), ANSWERS, NAMES, 64)
    request = ModelRequest(family, family, NAMES, ANSWERS, hook, torch.float32, torch.device("cpu"))
    classifier = PromptClassifier(model, prompts, request)
    ids = classifier.inputs(TEXTS)
    hidden, logits = classifier.states_and_logits(ids)
    answers = prompts.tokenizer.convert_tokens_to_ids(["fox", "rain", "loan"])
    for one, state, said in zip(ids, hidden, logits, strict=True):
        with torch.no_grad():
            given = model(input_ids=torch.tensor([one]), output_hidden_states=True)
        torch.testing.assert_close(said, given.logits[0, -1, answers], rtol=1e-5, atol=1e-5)
        if hook != HOOKS[-1]:
            expected = given.hidden_states[int(hook.split(".")[1])][0, -1]
            torch.testing.assert_close(state, expected, rtol=1e-5, atol=1e-5)
    hidden.requires_grad_()
    back = classifier.logits_from(hidden, classifier.context(ids))
    torch.testing.assert_close(back, logits, rtol=1e-5, atol=1e-5)
    assert torch.autograd.grad(back.sum(), hidden)[0].norm(dim=1).min() > 0


@pytest.mark.parametrize("hook", [None, *HOOKS])
def test_both_ways_to_run_a_decoder_give_the_same(
    classifier_folder: Path, test_data: TextData, hook: str | None
) -> None:
    hooked, plain = (load_classifier(classifier_folder, hook=hook, backend=name) for name in BACKENDS)
    assert hooked.prompt_fingerprint() == plain.prompt_fingerprint()
    assert hooked.model_fingerprint == plain.model_fingerprint
    assert hooked.n_blocks_after_hook == plain.n_blocks_after_hook
    ids = hooked.inputs(test_data.texts[:20])
    found = [classifier.states_and_logits(ids) for classifier in (hooked, plain)]
    torch.testing.assert_close(found[0].hidden, found[1].hidden, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[0].logits, found[1].logits, rtol=1e-5, atol=1e-5)
    other = found[0].hidden.flip(0)
    for in_context in (False, True):
        changed = [
            classifier.logits_from(other, classifier.context(ids) if in_context else None)
            for classifier in (hooked, plain)
        ]
        torch.testing.assert_close(changed[0], changed[1], rtol=1e-5, atol=1e-5)


def test_both_ways_to_run_a_decoder_evaluate_the_same(
    classifier_folder: Path, train_store: ActivationStore, test_store: ActivationStore, test_data: TextData
) -> None:
    cfg = EvaluateConfig(evals=("completeness", "causality", "sufficiency"), n_bootstrap=20)
    measured = []
    for backend in BACKENDS:
        classifier = load_classifier(classifier_folder, backend=backend)
        sae = SAESettings(d_sae=64, n_concepts=6)
        train = TrainConfig(total_samples=2000, batch_size=100, device="cpu")
        method = ClassifSAEConcepts.fit(FitTask(train_store, classifier, 6, 0, sae, train, BaselineConfig()))
        measured.append(evaluate(method, classifier, test_store, test_data, cfg).metrics)
    assert measured[0].keys() == measured[1].keys()
    for name, value in measured[0].items():
        assert value == pytest.approx(measured[1][name], abs=1e-5), name


def test_without_a_wish_transformer_lens_runs_what_it_knows(classifier_folder: Path, tmp_path: Path) -> None:
    assert isinstance(load_classifier(classifier_folder), HookedTransformerClassifier)
    write_model(tmp_path / "falcon", "Falcon", "ForCausalLM")
    assert isinstance(load_classifier(tmp_path / "falcon", NAMES, ANSWERS), PromptClassifier)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("Gemma2", {}),  # which TransformerLens knows by the names on the Hub alone
        ("Llama", {"head_dim": 16}),
        ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}}),
        ("OPT", {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
        (
            "Qwen3",
            {"use_sliding_window": True, "sliding_window": 14, "max_window_layers": 1},
        ),  # as only long texts show
    ],
)
def test_what_transformer_lens_would_run_otherwise_is_run_by_transformers(
    tmp_path: Path, family: str, changes: dict[str, Any]
) -> None:
    model = write_model(tmp_path, family, "ForCausalLM", **changes)
    classifier = load_classifier(tmp_path, NAMES, ANSWERS)
    assert isinstance(classifier, PromptClassifier)
    inputs = classifier.inputs
    assert isinstance(inputs, PromptTokenizer)
    ids = inputs(("the quick brown fox jumps over a lazy dog . " * 4, *TEXTS))
    with torch.no_grad():
        own_logits = [model(input_ids=torch.tensor([one])).logits[0, -1, inputs.label_token_ids] for one in ids]
    torch.testing.assert_close(classifier.states_and_logits(ids).logits, torch.stack(own_logits), rtol=1e-5, atol=1e-5)
    refused(tmp_path, "TransformerLens .*classifier.backend transformers", prompt=ANSWERS, backend=BACKENDS[0])


# --- what cannot be opened ---


def refused(folder: Path, message: str, class_names: tuple[str, ...] | None = NAMES, **asked: Any) -> None:
    with pytest.raises(UserError, match=message):
        load_classifier(folder, class_names, **asked)


def test_class_names_are_those_of_the_configuration_unless_it_has_none(tmp_path: Path) -> None:
    write_model(tmp_path / "named", "Bert")
    assert load_classifier(tmp_path / "named").class_names == NAMES
    assert load_classifier(tmp_path / "named", ("0", "1", "2")).class_names == ("0", "1", "2"), (
        "no names, no contradiction"
    )
    message = r"calls its classes animals, weather, money, .*asked for are weather, animals, money"
    refused(tmp_path / "named", message, ("weather", "animals", "money"))
    write_model(tmp_path / "nameless", "Bert", num_labels=2)
    assert load_classifier(tmp_path / "nameless", ("good", "bad")).class_names == ("good", "bad")
    refused(tmp_path / "nameless", "does not say how its classes are called", None)


def test_a_head_of_other_classes_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "model", "Roberta")
    refused(tmp_path / "model", r"has 3 classes, asked for are 2 \(a, b\)", ("a", "b"))


@pytest.mark.parametrize("changes", [{"num_labels": 1}, {"num_labels": 3, "problem_type": "regression"}])
def test_a_head_that_gives_numbers_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_model(tmp_path / "model", "Bert", **changes)
    refused(tmp_path / "model", "gives one number and no class", ("a", "b", "c")[: max(2, changes["num_labels"])])


@pytest.mark.parametrize(
    ("family", "head", "message"),
    [
        ("Bert", "ForMaskedLM", r"BertForMaskedLM has no classification head; tune one .*finetune"),
        ("Bert", "Model", r"BertModel has no classification head; tune one .*finetune"),
        ("GPT2", "Model", r"GPT2Model has no classification head; tune one .*finetune"),
        ("Bert", "ForTokenClassification", r"BertForTokenClassification .*each token.*one class a text"),
        ("Bert", "ForMultipleChoice", r"BertForMultipleChoice .*one class a text"),
        (
            "FNet",
            "ForSequenceClassification",
            r"FNetForSequenceClassification, .*not among .*classifier.backend encoder",
        ),
    ],
)
def test_a_model_that_is_no_classifier_is_refused_by_what_it_is(
    tmp_path: Path, family: str, head: str, message: str
) -> None:
    write_model(tmp_path / "model", family, head)
    refused(tmp_path / "model", message)


def test_an_image_model_is_refused(tmp_path: Path) -> None:
    config = ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32)
    ViTForImageClassification(config).save_pretrained(tmp_path / "model")
    refused(tmp_path / "model", "ViTForImageClassification reads no texts")
    ViTModel(config).save_pretrained(tmp_path / "headless")
    refused(tmp_path / "headless", "ViTModel reads no texts")


def test_without_class_names_a_model_without_a_head_is_told_to_have_none(tmp_path: Path) -> None:
    write_model(tmp_path / "bert", "Bert", "ForMaskedLM")
    with pytest.raises(UserError, match="BertForMaskedLM has no classification head"):
        load_classifier(tmp_path / "bert")


def test_a_text_without_a_token_is_refused(tmp_path: Path) -> None:
    tokenizer = new_tokenizer(0)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B")
    inputs = PlainTexts(tokenizer, None, 20)
    assert inputs(["the dog"]) != []
    with pytest.raises(UserError, match=r"a text \(' '\) has no token"):
        inputs(["the dog", " "])


def test_a_model_of_two_stacks_is_refused(tmp_path: Path) -> None:
    config = T5Config(d_model=32, d_kv=8, d_ff=40, num_layers=2, num_heads=4, vocab_size=60)
    config.id2label = dict(enumerate(NAMES))
    T5ForSequenceClassification(config).save_pretrained(tmp_path / "model")
    new_tokenizer(0).save_pretrained(tmp_path / "model")
    refused(tmp_path / "model", "T5ForSequenceClassification, an encoder and a decoder.*give a model")
    refused(tmp_path / "model", "T5.* has 2 stacks of 2 blocks", backend="encoder")


@pytest.mark.parametrize(
    ("config", "backend", "message"),
    [
        (SqueezeBertConfig(vocab_size=60, hidden_size=32, embedding_size=32, num_attention_heads=4,
                           num_hidden_layers=2, intermediate_size=40), "encoder", r"SqueezeBert\w+ do not take"),
        (XLNetConfig(vocab_size=60, d_model=32, n_layer=2, n_head=4, d_inner=40), "encoder", "XLNet.*no logit follows"),
        (GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=4), "encoder", "no logit follows from .*first token"),
    ],
)  # fmt: skip
def test_a_model_that_a_backend_cannot_run_is_refused_in_words(
    tmp_path: Path, config: PreTrainedConfig, backend: str, message: str
) -> None:
    config.num_labels = len(NAMES)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    new_tokenizer(0).save_pretrained(tmp_path)
    refused(tmp_path, message, backend=backend)


def test_an_adapter_without_its_base_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "nobody/nothing", "peft_type": "LORA"}')
    refused(folder, r"adapter.*nobody/nothing")


def test_a_prompt_for_a_model_that_reads_texts_as_they_are_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "model", "Bert")
    refused(tmp_path / "model", r"prompt\.template is set.*has a head", prompt=PromptConfig(template="{text}:"))


def test_a_tokenizer_without_a_padding_token_will_do(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", "Llama", pad_token_id=None)
    tokenizer = new_tokenizer(0)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "model")
    classifier = load_classifier(tmp_path / "model")
    ids = classifier.inputs(TEXTS)
    with torch.no_grad():
        expected = torch.cat([model(input_ids=torch.tensor([one])).logits for one in ids])
    torch.testing.assert_close(classifier.states_and_logits(ids).logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("family", "pad"), [("Llama", -1), ("GPT2", 60)])
def test_a_padding_token_that_the_model_has_not_will_do(tmp_path: Path, family: str, pad: int) -> None:
    write_model(tmp_path, family, pad_token_id=pad)
    new_tokenizer(0).save_pretrained(tmp_path)
    classifier = load_classifier(tmp_path)
    ids = classifier.inputs(TEXTS)
    alone = torch.cat([classifier.states_and_logits([one]).logits for one in ids])
    torch.testing.assert_close(classifier.states_and_logits(ids).logits, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("side", "kept"), [("right", "the quick brown"), ("left", "lazy dog .")])
def test_a_long_text_is_cut_as_the_tokenizer_does(tmp_path: Path, side: str, kept: str) -> None:
    write_model(tmp_path / "model", "Bert")
    new_tokenizer(0, truncation_side=side).save_pretrained(tmp_path / "model")
    classifier = load_classifier(tmp_path / "model", prompt=PromptConfig(max_tokens=5))
    assert isinstance(classifier.inputs, PlainTexts)
    (ids,) = classifier.inputs(["the quick brown fox jumps over the lazy dog ."])
    assert classifier.inputs.tokenizer.decode(ids) == f"[CLS] {kept} [SEP]"
    assert classifier.inputs.cut == {"right": "end", "left": "beginning"}[side]
    refused(tmp_path / "model", "prompt.max_tokens is 2, of which 2 are special", prompt=PromptConfig(max_tokens=2))


def test_a_text_as_long_as_the_model_reads_goes_through(tmp_path: Path) -> None:
    """RoBERTa's positions begin after that of its padding, so that two of them are never used."""
    for family in ("Bert", "Roberta", "MPNet"):
        write_model(tmp_path / family, family, max_position_embeddings=12)
        classifier = load_classifier(tmp_path / family)
        ids = classifier.inputs(["dog " * 50])
        assert len(ids[0]) == {"Bert": 12, "Roberta": 10, "MPNet": 10}[family]
        assert classifier.states_and_logits(ids).logits.isfinite().all()
