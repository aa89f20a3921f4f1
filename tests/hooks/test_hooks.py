"""The model side: hidden states, logits and interventions, against the Hugging Face model itself."""

from pathlib import Path
from typing import Any

import einops
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from sae_lens_classif import ClassifSAEConcepts, TextClassifier, TextData, load_classifier
from sae_lens_classif.config.classifier import PromptConfig
from sae_lens_classif.hooks.batching import batches_by_length, states_of_inputs
from sae_lens_classif.hooks.huggingface import load_tokenizer
from sae_lens_classif.hooks.inputs import PromptTokenizer
from sae_lens_classif.hooks.interventions import ACTIVE, run_interventions
from sae_lens_classif.hooks.load import save_classifier
from sae_lens_classif.saes.classif_sae import ClassifSAE, ClassifSAEConfig

INVARIANCE = 1e-5


def _label_tokens(classifier: TextClassifier) -> list[int]:
    assert isinstance(classifier.inputs, PromptTokenizer)
    return classifier.inputs.label_token_ids


def _hugging_face(classifier: TextClassifier, folder: Path, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden state before the last block and class logits of one text, by the model's own code."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    (prompt,) = classifier.inputs([text])
    with torch.no_grad():
        output = model(torch.tensor([prompt]), output_hidden_states=True)
    # The last entry of hidden_states is normalised; the one before it enters the last block.
    return output.hidden_states[-2][0, -1], output.logits[0, -1, _label_tokens(classifier)]


def test_states_and_logits_are_those_of_the_hugging_face_model(
    classifier: TextClassifier, classifier_folder: Path, test_data: TextData
) -> None:
    states = states_of_inputs(classifier, classifier.inputs(test_data.texts[:10]), max_batch_tokens=200)
    for row, text in enumerate(test_data.texts[:10]):
        hidden, logits = _hugging_face(classifier, classifier_folder, text)
        torch.testing.assert_close(states.hidden[row], hidden, rtol=0, atol=INVARIANCE)
        torch.testing.assert_close(states.logits[row], logits, rtol=0, atol=INVARIANCE)


@pytest.mark.parametrize("max_batch_tokens", [1, 60, 500, 100_000])
def test_padding_and_batches_do_not_change_a_hidden_state(
    classifier: TextClassifier, test_data: TextData, max_batch_tokens: int
) -> None:
    texts = test_data.texts[:30]
    alone = torch.cat([states_of_inputs(classifier, classifier.inputs([text]), 100).hidden for text in texts])
    together = states_of_inputs(classifier, classifier.inputs(texts), max_batch_tokens).hidden
    torch.testing.assert_close(together, alone, rtol=0, atol=INVARIANCE)
    shuffled = states_of_inputs(classifier, classifier.inputs(texts[::-1]), max_batch_tokens).hidden.flip(0)
    torch.testing.assert_close(shuffled, alone, rtol=0, atol=INVARIANCE)


def test_batches_hold_every_row_once_within_the_token_budget() -> None:
    lengths = [5, 1, 9, 9, 2, 30, 3, 5]
    batches = list(batches_by_length(lengths, max_batch_tokens=18))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) * max(lengths[row] for row in batch) <= 18 or len(batch) == 1
    assert batches[0] == [5]


def test_in_context_the_original_states_give_back_the_original_logits(
    classifier: TextClassifier, test_data: TextData
) -> None:
    prompts = classifier.inputs(test_data.texts[:8])
    states = classifier.states_and_logits(prompts)
    again = classifier.logits_from(states.hidden, classifier.context(prompts))
    torch.testing.assert_close(again, states.logits, rtol=0, atol=INVARIANCE)


def test_alone_a_state_is_a_sequence_of_one_token(
    classifier: TextClassifier, classifier_folder: Path, test_data: TextData
) -> None:
    hidden = classifier.states_and_logits(classifier.inputs(test_data.texts[:4])).hidden
    model = AutoModelForCausalLM.from_pretrained(classifier_folder).eval()
    neox = model.gpt_neox
    with torch.no_grad():
        state = hidden[:, None]
        positions = neox.rotary_emb(state, torch.zeros(4, 1, dtype=torch.int64))
        state = neox.layers[-1](state, attention_mask=None, position_embeddings=positions)
        state = state[0] if isinstance(state, tuple) else state
        logits = model.get_output_embeddings()(neox.final_layer_norm(state))[:, 0, _label_tokens(classifier)]
    torch.testing.assert_close(classifier.logits_from(hidden), logits, rtol=0, atol=INVARIANCE)


def _method(d_model: int) -> ClassifSAEConcepts:
    torch.manual_seed(0)
    sae = ClassifSAE(ClassifSAEConfig(d_in=d_model, d_sae=24, k=6, n_concepts=9, n_classes=3))
    with torch.no_grad():
        sae.b_dec.normal_(std=0.3)
    return ClassifSAEConcepts(sae)


@pytest.mark.parametrize("in_context", [False, True])
@pytest.mark.parametrize("batch_size", [7, 4096])
def test_interventions_equal_a_loop_over_texts_and_concepts(
    classifier: TextClassifier, test_data: TextData, in_context: bool, batch_size: int
) -> None:
    texts = test_data.texts[:9]
    prompts = classifier.inputs(texts)
    hidden = classifier.states_and_logits(prompts).hidden
    method = _method(classifier.d_model)
    concepts = method.encode(hidden).detach()
    groups = torch.zeros(2, 9, dtype=torch.bool)
    groups[0, 0], groups[1, 3:] = True, True
    found = run_interventions(
        classifier,
        method.decode,
        hidden,
        concepts,
        groups=groups,
        texts=texts if in_context else None,
        batch_size=batch_size,
    )

    def one(text: int, kept: torch.Tensor) -> torch.Tensor:
        decoded = method.decode((concepts[text] * kept)[None])[0].detach()
        state = decoded * hidden[text].norm() / (decoded.norm() + 1e-9)
        context = classifier.context([prompts[text]]) if in_context else None
        return classifier.logits_from(state[None], context)[0]

    everything = torch.ones(9)
    pairs = [(text, concept) for text in range(9) for concept in range(9) if concepts[text, concept].abs() > ACTIVE]
    assert list(zip(found.pair_text.tolist(), found.pair_concept.tolist(), strict=True)) == pairs and pairs
    for row, (text, concept) in enumerate(pairs):
        kept = everything.clone()
        kept[concept] = 0
        torch.testing.assert_close(found.pair[row], one(text, kept), rtol=0, atol=1e-4)
    for text in range(9):
        torch.testing.assert_close(found.bottleneck[text], one(text, everything), rtol=0, atol=1e-4)
        for number, group in enumerate(groups):
            torch.testing.assert_close(found.groups[number, text], one(text, (~group).float()), rtol=0, atol=1e-4)


def test_without_any_active_concept_there_are_no_pairs(classifier: TextClassifier, test_data: TextData) -> None:
    hidden = classifier.states_and_logits(classifier.inputs(test_data.texts[:3])).hidden
    found = run_interventions(classifier, _method(classifier.d_model).decode, hidden, torch.zeros(3, 9))
    assert found.pair.shape == (0, 3) and found.bottleneck.isfinite().all()


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_any_block_can_be_explained(classifier_folder: Path, test_data: TextData, layer: int) -> None:
    classifier = load_classifier(classifier_folder, hook=f"blocks.{layer}.hook_resid_pre")
    prompts = classifier.inputs(test_data.texts[:5])
    states = classifier.states_and_logits(prompts)
    again = classifier.logits_from(states.hidden, classifier.context(prompts))
    torch.testing.assert_close(again, states.logits, rtol=0, atol=INVARIANCE)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_other_decoders_load_from_a_folder_of_any_name(
    tmp_path: Path, classifier_folder: Path, prompt: PromptConfig, test_data: TextData, architecture: str
) -> None:
    tokenizer = load_tokenizer(str(classifier_folder))
    torch.manual_seed(0)
    shape: dict[str, Any] = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 0}
    model: PreTrainedModel
    if architecture == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=64, **shape))
    else:
        cfg = LlamaConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=64, max_position_embeddings=64, **shape,
        )  # fmt: skip
        model = LlamaForCausalLM(cfg)
    # TransformerLens would take a GPT-2 for a Llama by such a name.
    folder = tmp_path / "llama-gemma-3" / "model"
    save_classifier(folder, model, tokenizer, prompt, test_data.class_names)
    classifier = load_classifier(folder)
    text = test_data.texts[0]
    hidden, logits = _hugging_face(classifier, folder, text)
    states = classifier.states_and_logits(classifier.inputs([text]))
    torch.testing.assert_close(states.hidden[0], hidden, rtol=0, atol=INVARIANCE)
    torch.testing.assert_close(states.logits[0], logits, rtol=0, atol=INVARIANCE)


def test_attention_multiplies_by_its_weights_where_they_lie(classifier: TextClassifier) -> None:
    """Each pass would copy every one: at a width of 1,024 that took a fifth of what running on from a state takes."""
    attention: Any = classifier._model.blocks[0].attn  # type: ignore[attr-defined]
    for weight in (attention.W_Q, attention.W_K, attention.W_V):
        assert einops.rearrange(weight, "head model d_head -> (head d_head) model").data_ptr() == weight.data_ptr()
    used = einops.rearrange(attention.W_O, "head d_head model -> model (head d_head)").contiguous()
    assert used.data_ptr() == attention.W_O.data_ptr()
