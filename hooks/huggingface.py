"""Hugging Face models and tokenizers from a local folder or the Hub, with errors that say what to do."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch
from pydantic import BaseModel
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from sae_lens_classif.checksums import read_json
from sae_lens_classif.errors import UserError, fault_of_the_machine
from sae_lens_classif.hooks.adapters import Adapter, check_embedded, find_adapter
from sae_lens_classif.hub import cache_alone, hub_is_reachable, hub_unreachable_message, nobody_asked_to_convert
from sae_lens_classif.reading import refuse_devices, refuse_pickles
from sae_lens_classif.shapes import in_shape

_ONLY_SAFETENSORS = (
    "reading a pickle can run code of its own, so only safetensors are read. Where you trust it, open it once with "
    "transformers and write it with save_pretrained"
)
MULTI_LABEL: Literal["multi_label_classification"] = (
    "multi_label_classification"  # a config's problem_type where a text may have several labels
)
_T = TypeVar("_T")


def pick_device(device: str | None) -> torch.device:
    """The asked device, or a GPU if there is one, or the CPU.

    Raises:
        UserError: If the device does not exist here.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"the device {device!r} cannot be used here: {str(error).splitlines()[0]}") from error


def config_of_model(model: str) -> dict[str, Any]:
    """The ``config.json`` of a folder or a name on the Hub, of an adapter that of its base.

    Empty if there is none, or it cannot be read.

    Raises:
        UserError: If the folder does not exist.
    """
    adapter = _adapter_of(model)
    try:
        if adapter is not None:
            return _with_base(adapter, lambda base: config_of_model(base))
        content, _ = PreTrainedConfig.get_config_dict(model, local_files_only=is_local(model))
    except Exception:  # of all kinds where its file is damaged; opening the model says it better
        return {}
    in_shape(_Config, content, Path(model) / "config.json", "transformers", "give the model as it was saved")
    return dict(content)


class _Config(BaseModel):
    """What is asked of a model's configuration before it is opened."""

    model_type: str | None = None
    architectures: list[str] | None = None
    id2label: dict[int, str] | None = None


def architecture_of(model: str) -> str | None:
    """What kind of model a folder or a name on the Hub says it is; None if it does not, or cannot be read.

    Raises:
        UserError: If the folder does not exist.
    """
    adapter, config = _adapter_of(model), config_of_model(model)
    if adapter is not None:
        return adapter.architecture(config)
    named = config.get("architectures")
    return str(named[0]) if named else None


def is_soft_prompt(model: str) -> bool:
    """Whether a folder or a name on the Hub is virtual tokens before the prompts of another model."""
    adapter = _adapter_of(model)
    return adapter is not None and adapter.is_soft_prompt


def soft_prompt_of(model: str) -> torch.Tensor | None:
    """The virtual tokens of a folder or a name on the Hub, float (v, d); None where it is no soft prompt."""
    adapter = _adapter_of(model)
    return adapter.soft_prompt() if adapter is not None and adapter.is_soft_prompt else None


def _adapter_of(model: str) -> Adapter | None:
    return find_adapter(model, is_local(model))


def _with_base(adapter: Adapter, use: Callable[[str], _T]) -> _T:
    """Use the base of an adapter, or say that it is this which cannot be used."""
    try:
        return use(adapter.base)
    except UserError as error:
        raise UserError(f"{adapter.model} is an adapter, and its base cannot be opened: {error}") from error


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a local folder or a model on the Hub.

    Raises:
        UserError: If there is none.
    """
    local, adapter = is_local(model), _adapter_of(model)
    if adapter is not None and not any(Path(model).glob("tokenizer*")):
        return _with_base(adapter, load_tokenizer)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            model, local_files_only=local, trust_remote_code=False
        )
        is_empty = not tokenizer("a", add_special_tokens=False)["input_ids"]
    except Exception as error:  # of all kinds where its files are damaged
        raise UserError(_loading_message(model, "tokenizer", error)) from error
    if is_empty:
        raise UserError(_loading_message(model, "tokenizer", ValueError("its vocabulary is empty")))
    return tokenizer


def check_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, used: Sequence[int] = ()) -> None:
    """Refuse a tokenizer of another model: the model has no embedding of some of its tokens.

    Tokens that were added to it count only where they are used: some models have one for padding that is never read.

    Args:
        model: The model.
        tokenizer: The tokenizer that lies beside it.
        used: Tokens that will be read, added ones among them.

    Raises:
        UserError: If it is one.
    """
    n_known = None
    with contextlib.suppress(NotImplementedError):  # of a model that reads characters
        n_known = getattr(model.get_input_embeddings(), "num_embeddings", None)
    vocabulary, added = tokenizer.get_vocab(), tokenizer.get_added_vocab()
    largest = max([*(number for word, number in vocabulary.items() if word not in added), *used], default=0)
    if n_known is not None and largest >= n_known:
        raise UserError(
            f"the tokenizer of {model.name_or_path} has a token {largest}, and the model embeddings of {n_known} "
            "alone: it is that of another model; give both as they were saved together"
        )


def load_causal_lm(model: str, dtype: torch.dtype) -> PreTrainedModel:
    """Load a decoder with its language-model head, on the CPU, without running any code from its folder.

    Args:
        model: A folder or a name on the Hub, of a model or an adapter, which is merged; of a soft prompt its base.
        dtype: Precision.

    Raises:
        UserError: If the folder has no weights, or the model is no decoder.
    """
    adapter = _adapter_of(model)
    if adapter is not None:
        base = _with_base(adapter, lambda base: load_causal_lm(base, dtype))
        return base if adapter.is_soft_prompt else adapter.merged_into(base)
    return _load(model, dtype, AutoModelForCausalLM, "a language-model head")


def load_language_model(model: str, dtype: torch.dtype) -> PreTrainedModel:
    """Load an encoder or a decoder without its head, on the CPU, without running any code from its folder.

    Args:
        model: A folder or a name on the Hub.
        dtype: Precision.

    Raises:
        UserError: If it is an adapter, or the folder has no weights, or not all below the head.
    """
    if _adapter_of(model) is not None:
        raise UserError(f"{model} is an adapter; merge it into its model and save that, or give the base model")
    loaded, missing = _from_pretrained(AutoModel, model, dtype=dtype)
    missing = [key for key in missing if "pooler" not in key]  # which no residual stream goes through
    if missing:
        raise UserError(
            f"the weights of {model} lack {len(missing)} tensors of {type(loaded).__name__} (the first is "
            f"{missing[0]}); give the whole model"
        )
    return loaded


def load_sequence_classifier(model: str, dtype: torch.dtype, class_names: Sequence[str]) -> PreTrainedModel:
    """Load a model with a classification head, on the CPU, without running any code from its folder.

    Args:
        model: A folder or a name on the Hub, of a model or an adapter, which is merged.
        dtype: Precision.
        class_names: Of how many classes, and which, an adapter's head is.

    Raises:
        UserError: If the folder has no weights, or not those of the head.
    """
    adapter = _adapter_of(model)
    if adapter is not None and adapter.classifies:
        headed, new = _with_base(adapter, lambda base: _with_new_head(base, class_names, 0, False))
        return adapter.merged_into(headed.to(dtype=dtype), new)  # type: ignore[call-arg]  # the decorator hides self
    if adapter is not None:
        return adapter.merged_into(_with_base(adapter, lambda base: load_sequence_classifier(base, dtype, class_names)))
    return _load(model, dtype, AutoModelForSequenceClassification, "a classification head")


def new_sequence_classifier(
    model: str, class_names: Sequence[str], seed: int, multi_label: bool = False
) -> PreTrainedModel:
    """Load a pretrained model, in float32 on the CPU, with a new classification head.

    Args:
        model: A local folder or a name on the Hub; a head that it has is left away.
        class_names: Names of the C classes, which its configuration gets.
        seed: Of the head's weights.
        multi_label: Whether a text may have several of the classes, or none, which its configuration says.

    Raises:
        UserError: If the folder has no weights, or there is no classification head for its architecture.
    """
    return _with_new_head(model, class_names, seed, multi_label)[0]


def _with_new_head(
    model: str, class_names: Sequence[str], seed: int, multi_label: bool
) -> tuple[PreTrainedModel, list[str]]:
    """See ``new_sequence_classifier``; and which of its tensors are new."""
    names = dict(enumerate(class_names))
    torch.manual_seed(seed)
    loaded, new = _from_pretrained(
        AutoModelForSequenceClassification, model, dtype=torch.float32, ignore_mismatched_sizes=True,
        id2label=names, label2id={name: number for number, name in names.items()},
        **({"problem_type": MULTI_LABEL} if multi_label else {}),
    )  # fmt: skip
    inner = f"{loaded.base_model_prefix}."
    missing = [key for key in new if key.startswith(inner) and "pooler" not in key]
    if missing:
        raise UserError(
            f"the weights of {model} lack {len(missing)} tensors below the head (the first is {missing[0]}); give the "
            "whole model"
        )
    return loaded, new


def _load(model: str, dtype: torch.dtype, loader: Any, head: str) -> PreTrainedModel:
    loaded, missing = _from_pretrained(loader, model, dtype=dtype)
    if missing:  # transformers filled them in at random
        raise UserError(
            f"the weights of {model} lack {len(missing)} tensors of {type(loaded).__name__} (the first is "
            f"{missing[0]}); give the whole model, one with {head}"
        )
    return loaded


def _from_pretrained(loader: Any, model: str, **settings: Any) -> tuple[PreTrainedModel, list[str]]:
    """Load weights from safetensors alone, and say which tensors were missing there, or of another size.

    Raises:
        UserError: If there are no such weights, they are a pickle, or they are not finite.
    """
    local = is_local(model)
    check_model_folder(Path(model))
    try:
        # Where PEFT is installed, an adapter is looked for on the Hub all the same.
        with cache_alone(local), nobody_asked_to_convert():
            loaded, info = loader.from_pretrained(
                model, local_files_only=local, use_safetensors=True, trust_remote_code=False, output_loading_info=True,
                **settings,
            )  # fmt: skip
    except Exception as error:  # of all kinds where its files are damaged
        if fault_of_the_machine(error):
            raise
        raise UserError(_loading_message(model, "model", error)) from error
    for key, weight in loaded.named_parameters():
        if not weight.isfinite().all():
            raise UserError(f"the weights of {model} are not finite in {key}; give another checkpoint")
    others = {key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]}
    return cast(PreTrainedModel, loaded), sorted({*info["missing_keys"], *others})


def check_model_folder(folder: Path) -> None:
    """Refuse a model's folder of which transformers would read a pickle, or files outside it; any other path is fine.

    Raises:
        UserError: If it is one.
    """
    refuse_pickles(folder)
    check_embedded(folder)
    index = folder / "model.safetensors.index.json"
    content = read_json(index) if index.is_file() else {}
    shards = content.get("weight_map", {}) if isinstance(content, dict) else None
    if not isinstance(shards, dict):
        raise UserError(f"{index} is not what transformers writes (no weight_map); copy or download the model again")
    for name in shards.values():
        if not (isinstance(name, str) and Path(name).name == name and name.endswith(".safetensors")):
            raise UserError(
                f"{index} names the weights {name!r}; only safetensors beside it are read: copy or download the model "
                "again"
            )


def is_local(model: str) -> bool:
    """Whether a model is to be looked for on this machine alone: a folder, or anything where the Hub does not answer.

    Raises:
        UserError: If it is the path of a folder that is not there or holds a pipe or a device, or of a file.
    """
    path = Path(model)
    if path.is_dir():
        refuse_devices(path)
        return True
    if path.is_file():
        raise UserError(
            f"{model} is a file; give the folder of a model. A pickle, as of scikit-learn, is not read: open it in a "
            "function of your own, module:function"
        )
    if path.is_absolute() or model.startswith(".") or model.count("/") > 1:
        raise UserError(f"the model folder {model!r} does not exist; give a local folder or a name on the Hub")
    return not hub_is_reachable()


def _loading_message(model: str, what: str, error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return (
            f"the {what} {model} brings code of its own, which is not run (trust_remote_code is False); open it in a "
            "function of your own, module:function"
        )
    if Path(model).is_dir():
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        held = ", ".join(sorted(path.name for path in Path(model).iterdir())) or "nothing"
        return f"no {what} can be loaded from the folder {model} (it holds: {held}): {reason}"
    if not hub_is_reachable():
        return hub_unreachable_message(f"the {what} {model}")
    if "cannot be loaded with `safetensors`" in str(error):
        return f"the {what} {model} has no weights as safetensors on the Hub: {_ONLY_SAFETENSORS}"
    return f"the {what} {model} cannot be loaded from the Hub: {' '.join(str(error).split())}"


def model_context(model: PreTrainedModel) -> int:
    """Longest sequence a model of Hugging Face can read, in tokens."""
    names = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
    found = (getattr(model.config, name, None) for name in names)
    size = next((size for size in found if isinstance(size, int) and size > 0), 2048)  # XLNet's is -1
    for name, module in model.named_modules():  # RoBERTa's positions begin after that of its padding
        if name.endswith("embeddings.position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return size - int(module.padding_idx) - 1
    return size


def model_fingerprint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of a model's weights in the precision they are used in, its configuration and tokenizer."""
    config = model.config.to_dict()
    for volatile in ("_name_or_path", "transformers_version"):
        config.pop(volatile, None)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    digest.update(json.dumps(tokenizer.get_vocab(), sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
