"""Open a classifier from its folder: the model, and beside it how it is asked."""

from dataclasses import asdict
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sae_lens_classif.config.classifier import PromptConfig
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.files import new_folder, read_json, write_json
from sae_lens_classif.hooks.backends import DEFAULT, ModelRequest, backend_for, backend_names, find_backend
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.huggingface import architecture_of, is_local, pick_device

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
        write_json(temporary / CLASSIFIER_FILE, {"prompt": asdict(prompt), "class_names": class_names})


def load_classifier(
    model: str | Path,
    class_names: tuple[str, ...] | None = None,
    prompt: PromptConfig | None = None,
    hook: str | None = None,
    dtype: str = "float32",
    device: str | None = None,
    name: str | None = None,
    backend: str | None = None,
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
        backend: What runs it. Default: the one that opens its architecture.

    Raises:
        UserError: If the model, its weights or the hook is missing, a label is not one token, classes or prompt
            are not those in the folder, or nothing opens its architecture.
    """
    is_local(str(model))  # or refused, before anything else is said about it
    noted = Path(model) / CLASSIFIER_FILE
    if noted.is_file():
        prompt, class_names = _noted(noted, prompt, class_names)
    if class_names is None:
        raise UserError(
            f"{model} does not say how its classes are called; give class_names, in the order of the labels"
        )
    if dtype not in DTYPES:
        raise UserError(f"dtype is {dtype!r}; {nearest(dtype, list(DTYPES))}")
    target = pick_device(device)
    request = ModelRequest(str(model), name or str(model), class_names, prompt, hook, DTYPES[dtype], target)
    return find_backend(backend).open_model(request) if backend is not None else _open(request)


def _open(request: ModelRequest) -> TextClassifier:
    """Open a model by its architecture; the default backend tries one that no backend names, and says what is wrong."""
    architecture = architecture_of(request.model)
    backend = backend_for(architecture) if architecture is not None else None
    if backend is not None:
        return backend.open_model(request)
    try:
        return find_backend(DEFAULT).open_model(request)
    except UserError as error:
        if architecture is None:
            raise
        known = [f"{', '.join(find_backend(name).ARCHITECTURES)} ({name})" for name in backend_names()]
        raise UserError(f"{error}; its architecture is {architecture}, those that open: {'; '.join(known)}") from error


def _noted(
    file: Path, prompt: PromptConfig | None, class_names: tuple[str, ...] | None
) -> tuple[PromptConfig, tuple[str, ...]]:
    """How ``finetune`` noted that a model is asked. It reads only that prompt; another gives nonsense without an error.

    Raises:
        UserError: If something else is asked for, or the file is not what ``finetune`` writes.
    """
    content = read_json(file)
    try:
        words = content["prompt"].get("label_words")
        prompt_noted = PromptConfig(**{**content["prompt"], "label_words": words and tuple(words)})
        noted = prompt_noted, tuple(content["class_names"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is not what `finetune` writes ({error}); make the classifier anew") from error
    for name, asked, found in (("class_names", class_names, noted[1]), ("prompt", prompt, noted[0])):
        if asked not in (None, found):
            raise UserError(f"{file} says {name} = {found!r}, asked for is {asked!r}; leave {name} out, or use that")
    return noted
