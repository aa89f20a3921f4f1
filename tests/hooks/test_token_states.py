"""Residual streams of whole texts: those that the model itself gives, however texts are put together."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.token_states import TokenReader, open_reader
from tests.fakes.models import DECODERS, ENCODERS, N_LAYERS, WIDTH, write_model

TEXTS = ("the quick brown fox jumps over the lazy dog .", "rain", "the bank of the market", "a storm of wind and snow")
HOOKS = ("blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", f"blocks.{N_LAYERS - 1}.hook_resid_pre")
HEADS = {"GPT2": "LMHeadModel"}


def folder_of(family: str, tmp_path: Path) -> Path:
    head = "ForMaskedLM" if family in ENCODERS else HEADS.get(family, "ForCausalLM")
    write_model(tmp_path / family, family, head)
    return tmp_path / family


def read_all(reader: TokenReader, **options: object) -> list[list[torch.Tensor]]:
    """For each text, in order, the streams of its tokens, one a hook."""
    found: dict[int, list[torch.Tensor]] = {}
    for part in reader.read(TEXTS, HOOKS, **options):  # type: ignore[arg-type]  # as the caller has them
        pieces = [stream.split(part.lengths.tolist()) for stream in part.streams]
        found |= {text: [piece[place] for piece in pieces] for place, text in enumerate(part.texts)}
    return [found[text] for text in range(len(TEXTS))]


@pytest.mark.parametrize("family", sorted((ENCODERS | DECODERS).keys() - {"Bloom"}))
def test_the_states_are_the_model_s_own_in_any_batch(family: str, tmp_path: Path) -> None:
    folder = folder_of(family, tmp_path)
    reader = open_reader(str(folder), device="cpu", backend="transformers")
    assert (reader.n_layers, reader.d_model) == (N_LAYERS, WIDTH)
    model = AutoModel.from_pretrained(folder).eval()
    alone, together = (read_all(reader, special_tokens=True, max_batch_tokens=size) for size in (1, 1000))
    for text, one, other in zip(TEXTS, alone, together, strict=True):
        ids = torch.tensor(reader.inputs([text]))
        with torch.no_grad():
            states = model(input_ids=ids, output_hidden_states=True).hidden_states
        for hook, own, again in zip(HOOKS, one, other, strict=True):
            expected = states[reader.layer_of(hook)][0]
            torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(again, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["GPTNeoX", "Llama", "GPT2"])
def test_both_backends_read_the_same(family: str, tmp_path: Path) -> None:
    folder = str(folder_of(family, tmp_path))
    ours, theirs = open_reader(folder, device="cpu", backend="hooked_transformer"), open_reader(folder, device="cpu")
    assert type(ours).__name__ == "HookedTransformerReader" and type(theirs).__name__ == "TransformersReader"
    for one, other in zip(read_all(ours), read_all(theirs), strict=True):
        for own, again in zip(one, other, strict=True):
            torch.testing.assert_close(own, again, atol=1e-5, rtol=1e-5)


def test_what_transformer_lens_would_run_otherwise_is_refused_there(tmp_path: Path) -> None:
    window = {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 0}
    write_model(tmp_path / "m", "Qwen3", "ForCausalLM", **window)
    with pytest.raises(UserError, match="backend transformers runs it by its own code"):
        open_reader(str(tmp_path / "m"), device="cpu", backend="hooked_transformer")


def test_special_tokens_are_a_text_s_own_only_if_wanted(tmp_path: Path) -> None:
    reader = open_reader(str(folder_of("Bert", tmp_path)), device="cpu")
    without, with_them = read_all(reader), read_all(reader, special_tokens=True)
    for few, many in zip(without, with_them, strict=True):
        torch.testing.assert_close(many[0][1:-1], few[0], atol=1e-5, rtol=1e-5)


def test_the_output_of_the_last_block_is_read_before_the_final_norm(tmp_path: Path) -> None:
    folder = str(folder_of("GPTNeoX", tmp_path))
    last = f"blocks.{N_LAYERS - 1}.hook_resid_post"
    for backend in ("hooked_transformer", "transformers"):
        reader = open_reader(folder, device="cpu", backend=backend)
        (part,) = reader.read(TEXTS[:1], [last])
        model = AutoModel.from_pretrained(folder).eval()
        kept: list[torch.Tensor] = []
        model.final_layer_norm.register_forward_pre_hook(lambda _, given, kept=kept: kept.append(given[0]))
        with torch.no_grad():
            model(input_ids=torch.tensor(reader.inputs(TEXTS[:1])))
        torch.testing.assert_close(part.streams[0], kept[0][0, 1:-1], atol=1e-5, rtol=1e-5)


def test_mistakes_are_told(tmp_path: Path) -> None:
    folder = str(folder_of("GPTNeoX", tmp_path))
    with pytest.raises(UserError, match=r"features\.backend .* did you mean 'transformers'"):
        open_reader(folder, backend="transformer")
    reader = open_reader(folder, device="cpu")
    for hook in (
        f"blocks.{N_LAYERS}.hook_resid_pre",
        "blocks.0.hook_mlp_out",
        "",
        f"blocks.{'9' * 5000}.hook_resid_pre",
    ):
        with pytest.raises(UserError, match=r"has no hook .* L = 0\.\.2"):
            next(reader.read(TEXTS, [hook]))
    with torch.no_grad():
        reader._model.layers[0].mlp.dense_h_to_4h.weight.fill_(float("inf"))  # type: ignore[attr-defined]  # GPT-NeoX
    with pytest.raises(UserError, match=r"not finite at blocks\.0\.hook_resid_post"):
        next(reader.read(TEXTS, HOOKS))
