"""From texts to prompts to token ids: the template always survives, and a label is one token."""

from pathlib import Path
from typing import Any, Literal, cast

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from sae_lens_classif.config.classifier import PromptConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.inputs import PromptTokenizer, label_words
from sae_lens_classif.hooks.tuning.scratch import train_tokenizer

NEWS = ("World", "Sports", "Business", "Sci/Tech")
OPTIONS = "\n\nOPTIONS:\n0(World)\n1(Sports)\n2(Business)\n3(Sci/Tech)\n"
LONG = " ".join(f"dog{number} cat{number}" for number in range(300))
PYTHIA = Path(__file__).parents[3] / "shared" / "data" / "pythia_tokenizer" / "tokenizer.json"
Cut = Literal["beginning", "end"]


@pytest.fixture(scope="module")
def own(train_data: TextData) -> PreTrainedTokenizerBase:
    """A byte-level BPE that has hardly any merges."""
    return train_tokenizer(train_data.texts, 400, ["0", "1", "2", "3"])


@pytest.fixture(scope="module")
def pythia() -> PreTrainedTokenizerBase:
    """The tokenizer of the paper's main model."""
    if not PYTHIA.is_file():
        pytest.skip(f"Pythia's tokenizer is not at {PYTHIA}")
    return PreTrainedTokenizerFast(tokenizer_file=str(PYTHIA))


@pytest.fixture(scope="module", params=["own", "pythia"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    return cast(PreTrainedTokenizerBase, request.getfixturevalue(request.param))


def decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def test_the_default_prompt_is_the_papers(tokenizer: PreTrainedTokenizerBase) -> None:
    prompts = PromptTokenizer(tokenizer, PromptConfig(), NEWS, context=512)
    assert prompts.prompt("Shares fell.") == f"Shares fell.{OPTIONS}"
    assert decode(tokenizer, prompts(["Shares fell."])[0]) == f"Shares fell.{OPTIONS}"


def test_with_the_default_template_every_label_is_one_token_of_pythia(pythia: PreTrainedTokenizerBase) -> None:
    names = tuple(f"class {number}" for number in range(12))
    prompts = PromptTokenizer(pythia, PromptConfig(), names, context=512)
    words = [str(number) for number in range(12)]
    assert prompts.label_words == tuple(words)
    assert [decode(pythia, [token]) for token in prompts.label_token_ids] == words


@pytest.mark.parametrize("cut", ["beginning", "end"])
@pytest.mark.parametrize(
    "template",
    [
        PromptConfig().template,
        "{text}\n\nTopic:",
        "Name the topic.\n\n{text}\n\nTopic:",
        "Review: {text}\nTopic:",
        "{text}",
    ],
)
def test_a_long_text_is_cut_on_the_asked_side_and_the_template_survives(
    tokenizer: PreTrainedTokenizerBase, template: str, cut: Cut
) -> None:
    cfg = PromptConfig(template=template, cut=cut)
    head, tail = template.replace("{options}\n", OPTIONS.removeprefix("\n\nOPTIONS:\n")).split("{text}")
    prompts = PromptTokenizer(tokenizer, cfg, NEWS, context=120)
    ids = prompts([LONG])[0]
    prompt = decode(tokenizer, ids)
    assert len(ids) == 120
    assert prompt.startswith(head)
    assert prompt.endswith(tail)
    kept = prompt.removeprefix(head).removesuffix(tail)
    assert len(kept) > 20
    assert LONG.endswith(kept) if cut == "beginning" else LONG.startswith(kept)


def test_the_longest_prompt_is_the_setting_but_never_more_than_the_context(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    template = "{text}\n\nTopic:"
    for maximum, context, expected in ((100, 512, 100), (1000, 512, 512), (None, 64, 64)):
        cfg = PromptConfig(template=template, max_tokens=maximum)
        prompts = PromptTokenizer(tokenizer, cfg, NEWS, context)
        assert prompts.max_tokens == expected
        assert [len(ids) for ids in prompts([LONG, LONG])] == [expected, expected]


def test_a_text_that_just_fits_is_not_cut(tokenizer: PreTrainedTokenizerBase) -> None:
    whole = PromptTokenizer(tokenizer, PromptConfig(), NEWS, context=4096)([LONG])[0]
    just = PromptTokenizer(tokenizer, PromptConfig(), NEWS, context=len(whole))
    assert just([LONG])[0] == whole
    assert len(PromptTokenizer(tokenizer, PromptConfig(), NEWS, context=len(whole) - 1)([LONG])[0]) == len(whole) - 1


def test_the_answer_is_not_in_a_prompt_without_options(tokenizer: PreTrainedTokenizerBase) -> None:
    prompts = PromptTokenizer(tokenizer, PromptConfig(template="{text}\n\nTopic:"), NEWS, context=64)
    assert prompts.prompt("Shares fell.") == "Shares fell.\n\nTopic:"
    assert set(prompts(["Shares fell."])[0]).isdisjoint(prompts.label_token_ids)


@pytest.mark.parametrize(
    "text", ["{options}", "{text} {text}", "{label}({name}) {id}", "{0} {", "}} %s %(text)s \\1", "$text"]
)
def test_braces_in_a_text_stay_as_they_are(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    prompts = PromptTokenizer(tokenizer, PromptConfig(), NEWS, context=512)
    assert decode(tokenizer, prompts([text])[0]) == text + OPTIONS


def test_braces_in_class_names_stay_as_they_are(own: PreTrainedTokenizerBase) -> None:
    names = ("{text}", "{options}", "{label}", "{name}")
    prompts = PromptTokenizer(own, PromptConfig(), names, context=512)
    expected = "hi\n\nOPTIONS:\n0({text})\n1({options})\n2({label})\n3({name})\n"
    assert prompts.prompt("hi") == expected


@pytest.mark.parametrize("text", ["🎉👩‍👩‍👧 party", "שלום עולם", "مرحبا \u200f بالعالم", "é ａ\u00a0b", "\t\r\n x"])
def test_any_script_goes_through_whole_and_leaves_the_template_whole_when_cut(
    tokenizer: PreTrainedTokenizerBase, text: str
) -> None:
    whole = PromptTokenizer(tokenizer, PromptConfig(), NEWS, context=512)
    assert decode(tokenizer, whole([text])[0]) == text + OPTIONS
    for cut in ("beginning", "end"):
        short = PromptTokenizer(tokenizer, PromptConfig(cut=cut), NEWS, context=80)
        ids = short([text * 100])[0]
        assert len(ids) == 80
        assert decode(tokenizer, ids).endswith(OPTIONS)


def with_special_tokens(tokenizer: PreTrainedTokenizerBase, pattern: str) -> PreTrainedTokenizerBase:
    """A copy that puts ``<s>`` and ``</s>`` around what it encodes, as a pattern of TemplateProcessing says."""
    backend = Tokenizer.from_str(cast(PreTrainedTokenizerFast, tokenizer).backend_tokenizer.to_str())
    backend.add_special_tokens(["<s>", "</s>"])
    ids = [(word, backend.token_to_id(word)) for word in ("<s>", "</s>")]
    backend.post_processor = TemplateProcessing(single=pattern, special_tokens=ids)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("cut", ["beginning", "end"])
def test_a_tokenizer_that_begins_with_bos_gets_it_once_also_when_the_text_is_cut(
    own: PreTrainedTokenizerBase, cut: Cut
) -> None:
    tokenizer = with_special_tokens(own, "<s> $A </s>")
    prompts = PromptTokenizer(tokenizer, PromptConfig(cut=cut), NEWS, context=120)
    for text in ("dog", LONG):
        ids = prompts([text])[0]
        assert len(ids) <= 120
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(cast(int, tokenizer.bos_token_id)) == 1
        assert tokenizer.eos_token_id not in ids, "it would stand between the prompt and its answer"
        assert decode(tokenizer, ids).endswith(OPTIONS)


def test_a_tokenizer_that_has_bos_but_does_not_use_it_gets_none(own: PreTrainedTokenizerBase) -> None:
    tokenizer = with_special_tokens(own, "$A")
    ids = PromptTokenizer(tokenizer, PromptConfig(), NEWS, context=512)(["dog"])[0]
    assert tokenizer.bos_token_id not in ids


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_word": "antidisestablishment{id}"}, "'antidisestablishment0'.*label_words"),
        ({"label_words": ("0", "1", "2", "")}, "'' is not one token"),
        ({"label_words": ("0", "1")}, r"are 2 \(0, 1\) for 4 classes \(World, Sports, Business, Sci/Tech\)"),
        ({"label_words": ("0", "1", "2", "1")}, "0, 1, 2, 1 "),
        ({"label_word": "0"}, "not all different"),
        ({"max_tokens": 5}, r"\d+ tokens .* 5.*prompt\.template"),
    ],
)
def test_prompts_that_cannot_work_are_refused(
    tokenizer: PreTrainedTokenizerBase, settings: dict[str, Any], message: str
) -> None:
    cfg = PromptConfig(**settings)
    with pytest.raises(UserError, match=message):
        PromptTokenizer(tokenizer, cfg, NEWS, context=512)


def test_a_context_that_the_template_fills_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    alone = len(tokenizer(OPTIONS)["input_ids"])
    with pytest.raises(UserError, match=rf"template .*{alone} tokens .*{alone}"):
        PromptTokenizer(tokenizer, PromptConfig(), NEWS, context=alone)


def test_label_words_that_the_tokenizer_does_not_tell_apart_are_refused() -> None:
    words = Tokenizer(WordLevel({"[UNK]": 0, "Topic": 1, ":": 2, "a": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    cfg = PromptConfig(template="{text} Topic:", label_words=("yes", "no"))
    with pytest.raises(UserError, match="yes, no are the same token"):
        PromptTokenizer(tokenizer, cfg, ("good", "bad"), context=16)


def test_label_words_follow_their_pattern_and_may_hold_names_of_classes() -> None:
    assert label_words(PromptConfig(label_word="<|{id}|>"), ("x", "y")) == ("<|0|>", "<|1|>")
    assert label_words(PromptConfig(label_word=" {name}"), ("yes", "no")) == (" yes", " no")
    assert label_words(PromptConfig(label_words=("good", "bad")), ("x", "y")) == ("good", "bad")
