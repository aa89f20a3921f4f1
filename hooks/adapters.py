"""Adapters of PEFT: LoRA and the like, merged into what they stand on, and soft prompts, which stand before a text."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import hf_hub_download
from pydantic import BaseModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
from transformers.utils.peft_utils import find_adapter_config_file

from sae_lens_classif.checksums import read_json
from sae_lens_classif.errors import UserError, require
from sae_lens_classif.hub import hub_is_reachable
from sae_lens_classif.reading import refuse_pickles
from sae_lens_classif.shapes import read_shape

_VIRTUAL = "prompt_embeddings"  # as PEFT calls them
_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_LEADS_ELSEWHERE = ("adapters", "megatron_config")  # other adapters, which may be pickles; a module to be imported
_HEADS = ("classifier", "score", "out_proj", "pre_classifier")  # as transformers' models call their heads
_INSIDE = "base_model.model."  # before the names of the base's tensors


@dataclass(frozen=True)
class Adapter:
    """A folder or a name on the Hub that holds an adapter and no whole model.

    Attributes:
        model: The folder or name.
        base: The model it stands on: a folder or a name.
        classifies: Whether it brings a classification head.
        is_soft_prompt: Whether it is virtual tokens, which cannot be merged.
    """

    model: str
    base: str
    classifies: bool
    is_soft_prompt: bool

    def architecture(self, of_base: dict[str, Any]) -> str | None:
        """What the merged model is, given the base's ``config.json``."""
        if self.classifies:
            named = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.get(of_base.get("model_type", ""))
            return str(named) if named is not None else None
        return next(iter(of_base.get("architectures") or ()), None)

    def merged_into(self, model: PreTrainedModel, new: Sequence[str] = ()) -> PreTrainedModel:
        """The base with the adapter's weights in it, as if it had been tuned whole.

        Args:
            model: The base, with a head where the adapter brings one; it is changed.
            new: Tensors of it that the base has not, which the adapter has to bring.

        Raises:
            UserError: If the weights are missing or of another model, or the package peft is not installed.
        """
        require("finetune", "peft")
        from peft import PeftModel

        brought = {name.removeprefix(_INSIDE).replace(".base_layer", "") for name in self._weights()}
        if self.classifies and not any(part in _HEADS for name in brought for part in name.split(".")):
            raise UserError(
                f"the adapter {self.model} is one of a classifier, but brings no head (modules_to_save in its "
                "adapter_config.json); save it with its head"
            )
        missing = [name for name in new if name not in brought]
        if missing:
            raise UserError(
                f"the adapter {self.model} brings a part of its head alone: {missing[0]} is neither in it nor in its "
                "base; save it with its whole head (modules_to_save in its adapter_config.json)"
            )
        folder = str(self._weights_file().parent)  # where it finds the safetensors before anything else
        try:
            adapted = PeftModel.from_pretrained(model, folder)
            merged = cast(Any, adapted).merge_and_unload()
        except Exception as error:  # PEFT raises all kinds
            raise UserError(
                f"the adapter {self.model} does not go with its base {self.base}: {type(error).__name__}: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error
        return cast(PreTrainedModel, merged)

    def soft_prompt(self) -> torch.Tensor:
        """The virtual tokens' embeddings, float (v, d).

        Raises:
            UserError: If they are missing, or the package peft is not installed.
        """
        weights = self._weights()
        if set(weights) != {_VIRTUAL}:
            raise UserError(
                f"the soft prompt {self.model} holds {', '.join(sorted(weights)) or 'nothing'}, not {_VIRTUAL}; make "
                "it by prompt tuning"
            )
        return weights[_VIRTUAL]

    def _weights(self) -> dict[str, torch.Tensor]:
        return load_file(self._weights_file())

    def _weights_file(self) -> Path:
        """The adapter's safetensors, on this machine; PEFT by itself would read a pickle where there are none."""
        file = Path(self.model) / _WEIGHTS
        refuse_pickles(file.parent)
        try:
            if not Path(self.model).is_dir():
                file = Path(hf_hub_download(self.model, _WEIGHTS, local_files_only=not hub_is_reachable()))
            with safe_open(file, "pt"):
                return file
        except (OSError, SafetensorError) as error:  # the Hub's errors are OSErrors, too
            raise UserError(
                f"the weights of the adapter {self.model} cannot be read from {_WEIGHTS} "
                f"({' '.join(str(error).split())[:200]}); without them its base is another model: give the whole "
                "folder, saved as safetensors"
            ) from error


class _Noted(BaseModel):
    """What counts of an adapter's configuration."""

    base_model_name_or_path: str | None = None
    task_type: str | None = None
    peft_type: str | None = None


def find_adapter(model: str, local: bool) -> Adapter | None:
    """The adapter that a folder or a name on the Hub holds; None for a whole model.

    Args:
        model: The folder or name.
        local: Look on this machine alone.

    Raises:
        UserError: If its configuration names no base, or something else that PEFT would open by it.
    """
    folder = Path(model)
    if folder.is_dir():
        is_adapter = (folder / _CONFIG).is_file() and not (folder / "config.json").is_file()
        file = folder / _CONFIG if is_adapter else None
    else:
        file = _on_hub(model, local)
    if file is None:
        return None
    _refuse_leads(file)
    noted: _Noted = read_shape(_Noted, file, "PEFT", "give another adapter")
    base = noted.base_model_name_or_path
    if not base:
        raise UserError(f"{file} does not say of which model it is an adapter; set base_model_name_or_path in it")
    return Adapter(model, base, noted.task_type == "SEQ_CLS", noted.peft_type == "PROMPT_TUNING")


def check_embedded(folder: Path) -> None:
    """Refuse a whole model's folder with an adapter in it, which transformers applies, that is no safetensors.

    Raises:
        UserError: If there is one.
    """
    if (folder / _CONFIG).is_file():
        _refuse_leads(folder / _CONFIG)
        if not (folder / _WEIGHTS).is_file():
            raise UserError(
                f"{folder} holds an adapter ({_CONFIG}) without {_WEIGHTS}; delete the one or add the other"
            )


def _refuse_leads(file: Path) -> None:
    content = read_json(file)
    leads = [name for name in _LEADS_ELSEWHERE if isinstance(content, dict) and content.get(name)]
    if leads:
        raise UserError(f"{file} sets {leads[0]}, by which PEFT opens more than this adapter; give one without")


@cache  # a model is opened in several steps, and each asks
def _on_hub(model: str, local: bool) -> Path | None:
    try:
        file = find_adapter_config_file(model, local_files_only=local)
    except (OSError, ValueError):  # opening the model says it better
        return None
    return Path(file) if file is not None else None


def embedded_after(soft_prompt: torch.Tensor, model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """What a decoder reads: virtual tokens, then the embeddings of a text's own.

    Args:
        soft_prompt: float (v, d).
        model: The decoder.
        tokens: int64 (B, T).

    Returns:
        float (B, v + T, d).
    """
    return torch.cat([soft_prompt.expand(len(tokens), -1, -1), model.get_input_embeddings()(tokens)], dim=1)
