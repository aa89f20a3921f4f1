"""Open a classifier from its folder: the model, and beside it how it is asked."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sae_lens_classif.config.run import PromptConfig
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.files import new_folder, read_json, write_json
from sae_lens_classif.hooks.backends.hooked_transformer import HookedTransformerClassifier, model_context
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.huggingface import check_exists, load_causal_lm, load_tokenizer, pick_device
from sae_lens_classif.hooks.inputs import PromptTokenizer

CLASSIFIER_FILE = "classifier.json"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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
    name: str | None = None,
) -> TextClassifier:
    """Open a language model that classifies.

    Args:
        model: A folder that ``finetune`` made, any local folder with a decoder, or a name on the Hub.
        class_names: Names of the C classes. Default: those in the folder.
        prompt: Template and label words. Default: those in the folder, else the paper's.
        hook: ``blocks.L.hook_resid_pre``. Default: the last block's.
        dtype: Precision the model runs in.
        device: ``cpu``, ``cuda`` ... Default: a GPU if there is one.
        name: How the model is called in what is made from it. Default: ``model`` as given.

    Raises:
        UserError: If the model, its weights or the hook is missing, a label is not one token, or classes or prompt
            are not those in the folder.
    """
    check_exists(str(model))
    noted = Path(model) / CLASSIFIER_FILE
    if noted.is_file():
        content = read_json(noted)
        try:
            noted_prompt = PromptConfig(**_with_tuples(content["prompt"]))
            noted_names = tuple(content["class_names"])
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{noted} is not what `finetune` writes ({error}); make the classifier anew") from error
        _check_noted(noted, "class_names", class_names, noted_names)
        _check_noted(noted, "prompt", prompt, noted_prompt)
        prompt, class_names = noted_prompt, noted_names
    if class_names is None:
        raise UserError(
            f"{model} does not say how its classes are called; give class_names, in the order of the labels"
        )
    if dtype not in DTYPES:
        raise UserError(f"dtype is {dtype!r}; {nearest(dtype, list(DTYPES))}")
    target = pick_device(device)
    tokenizer = load_tokenizer(str(model))
    loaded = load_causal_lm(str(model), DTYPES[dtype])
    prompts = PromptTokenizer(tokenizer, prompt or PromptConfig(), class_names, model_context(loaded))
    return HookedTransformerClassifier(
        loaded, tokenizer, prompts, name=name or str(model), hook_name=hook, device=target
    )


def _check_noted(noted: Path, name: str, asked: object, found: object) -> None:
    """A model reads only the prompt that it was tuned with; another one gives nonsense without an error."""
    if asked not in (None, found):
        raise UserError(f"{noted} says {name} = {found!r}, asked for is {asked!r}; leave {name} out, or use that")


def _with_tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
