"""Open a classifier from its folder: the model, and beside it how it is asked."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sae_lens_classif.config import PromptConfig
from sae_lens_classif.errors import UserError
from sae_lens_classif.files import new_folder, read_json, write_json
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.hooked_transformer import HookedTransformerClassifier, model_context
from sae_lens_classif.hooks.loading import check_exists, load_causal_lm, load_tokenizer, pick_device
from sae_lens_classif.hooks.prompt import PromptTokenizer

CLASSIFIER_FILE = "classifier.json"


def save_classifier(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: PromptConfig,
    class_names: tuple[str, ...],
) -> None:
    """Write a fine-tuned model, its tokenizer and how it is asked; the folder is whole or absent.

    Args:
        folder: Gets the model in Hugging Face's form and ``classifier.json``.
        model: Fine-tuned decoder.
        tokenizer: Its tokenizer.
        prompt: Template and label words it was tuned with.
        class_names: Names of the C classes.
    """
    with new_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        write_json(
            temporary / CLASSIFIER_FILE,
            {"prompt": asdict(prompt), "class_names": list(class_names)},
        )


def load_classifier(
    model: str | Path,
    class_names: tuple[str, ...] | None = None,
    prompt: PromptConfig | None = None,
    hook: str | None = None,
    dtype: str = "float32",
    device: str | None = None,
) -> TextClassifier:
    """Open a language model that classifies.

    Args:
        model: A folder that ``finetune`` made, any local folder with a decoder, or a name on the Hub.
        class_names: Names of the C classes. Default: those in the folder.
        prompt: Template and label words. Default: those in the folder, else the paper's.
        hook: ``blocks.L.hook_resid_pre``. Default: the last block's.
        dtype: Precision the model runs in.
        device: ``cpu``, ``cuda`` ... Default: a GPU if there is one.

    Raises:
        UserError: If the model, its weights or the hook is missing, or a label is not one token.
    """
    check_exists(str(model))
    noted = Path(model) / CLASSIFIER_FILE
    if noted.is_file():
        content = read_json(noted)
        try:
            prompt = prompt or PromptConfig(**_with_tuples(content["prompt"]))
            class_names = class_names or tuple(content["class_names"])
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{noted} is not what `finetune` writes ({error}); make the classifier anew") from error
    if class_names is None:
        raise UserError(
            f"{model} does not say how its classes are called; give class_names, in the order of the labels"
        )
    target = pick_device(device)
    tokenizer = load_tokenizer(str(model))
    loaded = load_causal_lm(str(model), getattr(torch, dtype))
    prompts = PromptTokenizer(tokenizer, prompt or PromptConfig(), class_names, model_context(loaded))
    return HookedTransformerClassifier(loaded, tokenizer, prompts, name=Path(model).name, hook_name=hook, device=target)


def _with_tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
