"""Open a classifier from its folder: the model, and beside it how it is asked."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from sae_lens_classif.checksums import write_json
from sae_lens_classif.config.classifier import PromptConfig
from sae_lens_classif.config.yaml import settings_from
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.files import new_folder
from sae_lens_classif.hooks.backends import (
    DEFAULT,
    ModelRequest,
    RunsOtherwiseError,
    backend_for,
    backend_names,
    find_backend,
)
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.functions import open_of_the_user
from sae_lens_classif.hooks.heads import names_in_config
from sae_lens_classif.hooks.huggingface import architecture_of, config_of_model, is_local, is_soft_prompt, pick_device
from sae_lens_classif.plugins import names_code
from sae_lens_classif.shapes import read_shape

logger = logging.getLogger(__name__)

CLASSIFIER_FILE = "classifier.json"
_MOST_NAMED = 25  # architectures of a backend
_TUNE = "tune one with `sae-lens-classif finetune --finetune.base_model {model}`, or give a model that has one"
# Endings of architectures that give no class a text: what they do, and what to do about it.
_NO_CLASSIFIERS = {
    ("ForMaskedLM", "ForPreTraining", "Model"): f"has no classification head; {_TUNE}",
    ("ForTokenClassification", "ForQuestionAnswering"): f"answers for each token, not with one class a text; {_TUNE}",
    ("ForMultipleChoice", "ForNextSentencePrediction"): f"has no head for one class a text; {_TUNE}",
    (
        "ForImageClassification",
        "ForAudioClassification",
        "ForVideoClassification",
    ): "reads no texts; give a model that does",
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def save_classifier(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: PromptConfig,
    class_names: tuple[str, ...],
    multi_label: bool = False,
) -> None:
    """Write a fine-tuned model, its tokenizer and how it is asked; the folder is whole or absent.

    Args:
        folder: Gets the model in Hugging Face's form and ``classifier.json``.
        model: Fine-tuned model, or an adapter of one.
        tokenizer: Its tokenizer.
        prompt: Template and label words it was tuned with.
        class_names: Names of the C classes.
        multi_label: Whether a text may have several of them, or none.
    """
    with new_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        noted = {"prompt": asdict(prompt), "class_names": class_names}
        write_json(temporary / CLASSIFIER_FILE, {**noted, "multi_label": True} if multi_label else noted)


def load_classifier(
    model: str | Path,
    class_names: tuple[str, ...] | None = None,
    prompt: PromptConfig | None = None,
    hook: str | None = None,
    dtype: str = "float32",
    device: str | None = None,
    name: str | None = None,
    backend: str | None = None,
    multi_label: bool = False,
) -> TextClassifier:
    """Open a language model that classifies.

    Args:
        model: A folder that ``finetune`` made, any local folder with a model, a name on the Hub, or ``module:function``
            of your own, which gives a classifier.
        class_names: Names of the C classes. Default: those in the folder (``id2label`` of a model with a head).
        prompt: Template and label words. Default: those in the folder, else the paper's.
        hook: ``blocks.L.hook_resid_pre``, or ``hook_resid_post`` of the last block. Default: the last block's input; of
            an encoder its output.
        dtype: Precision the model runs in.
        device: ``cpu``, ``cuda`` ... Default: a GPU if there is one.
        name: How the model is called in what is made from it. Default: ``model`` as given.
        backend: What runs it. Default: the one that opens its architecture.
        multi_label: Whether a head that does not say so (``problem_type``) gives a text any number of labels.

    Raises:
        UserError: If the model, its weights or the hook is missing, a label is not one token, classes or prompt
            are not those in the folder, or nothing opens its architecture.
    """
    if names_code(str(model)):
        return _checked(open_of_the_user(str(model)), class_names, hook)
    is_local(str(model))  # or refused, before anything else is said about it
    noted = Path(model) / CLASSIFIER_FILE
    if noted.is_file():
        prompt, class_names, several = _noted(noted, prompt, class_names)
        multi_label |= several
    class_names = class_names or names_of_model(str(model))
    if class_names is None:
        architecture = architecture_of(str(model))
        if architecture is not None and backend_for(architecture) is None:
            _refuse(architecture, str(model), name or str(model))
        raise UserError(
            f"{model} does not say how its classes are called; give class_names, in the order of the labels"
        )
    if dtype not in DTYPES:
        raise UserError(f"dtype is {dtype!r}; {nearest(dtype, list(DTYPES))}")
    target = pick_device(device)
    called = name or str(model)
    request = ModelRequest(str(model), called, class_names, prompt, hook, DTYPES[dtype], target, multi_label)
    return find_backend(backend).open_model(request) if backend is not None else _open(request)


def _checked(classifier: TextClassifier, class_names: tuple[str, ...] | None, hook: str | None) -> TextClassifier:
    """A classifier of the user's own, or a refusal where something else is asked for."""
    for what, asked, own in (
        ("class_names", class_names, classifier.class_names),
        ("hook", hook, classifier.hook_name),
    ):
        if asked not in (None, own):
            raise UserError(f"{classifier.name} has the {what} {own!r}, asked for is {asked!r}; leave {what} out")
    return classifier


def names_of_model(model: str) -> tuple[str, ...] | None:
    """How a model with a head calls its classes, in their order, if it says so."""
    if names_code(model):
        return None
    return names_in_config(config_of_model(model).get("id2label") or {})


def _open(request: ModelRequest) -> TextClassifier:
    """Open a model by its architecture; the default backend tries one that no backend names, and says what is wrong."""
    architecture = architecture_of(request.model)
    backend = backend_for(architecture) if architecture is not None else None
    if is_soft_prompt(request.model):
        backend = find_backend("transformers")
    if backend is not None:
        try:
            return backend.open_model(request)
        except RunsOtherwiseError as error:
            own = find_backend("transformers")
            if backend is own or architecture not in own.ARCHITECTURES:
                raise
            _say_once(f"{request.name}: opened by the backend transformers, since {error}")
            return own.open_model(request)
    if architecture is not None:
        _refuse(architecture, request.model, request.name)
    try:
        return find_backend(DEFAULT).open_model(request)
    except UserError as error:
        if architecture is None:
            raise
        raise UserError(f"{error}; its architecture is {architecture}, those that open: {_known()}") from error


@cache
def _say_once(words: str) -> None:
    logger.info(words)  # a run opens its model several times


def _refuse(architecture: str, model: str, name: str) -> None:
    """Say of a model that gives no class a text what it is and what to do; of any other nothing."""
    config = config_of_model(model)
    if config.get("is_encoder_decoder"):
        raise UserError(
            f"{name} is a {architecture}, an encoder and a decoder, whose decision follows from two stacks of "
            "blocks; one is explained: give a model that is an encoder or a decoder alone"
        )
    if architecture in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.values():
        raise UserError(
            f"{name} is a {architecture}, which is not among those that open by themselves; try "
            f"classifier.backend encoder or sequence_head. Those that open: {_known()}"
        )
    if "vision_config" in config or "image_size" in config:
        raise UserError(f"{name}: a {architecture} reads no texts, or not them alone; give a model that does")
    for endings, what in _NO_CLASSIFIERS.items():
        if architecture.endswith(endings):
            raise UserError(f"{name}: a {architecture} {what.format(model=model)}")


def _known() -> str:
    return "; ".join(f"{_first(find_backend(name).ARCHITECTURES)} ({name})" for name in backend_names())


def _first(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


class _Noted(BaseModel):
    """Content of the file that ``finetune`` writes beside a model."""

    prompt: dict[str, Any]
    class_names: tuple[str, ...] = Field(min_length=2)
    multi_label: bool = False


def _noted(
    file: Path, prompt: PromptConfig | None, class_names: tuple[str, ...] | None
) -> tuple[PromptConfig, tuple[str, ...], bool]:
    """How ``finetune`` noted that a model is asked. It reads only that prompt; another gives nonsense without an error.

    Raises:
        UserError: If something else is asked for, or the file is not what ``finetune`` writes.
    """
    content: _Noted = read_shape(_Noted, file, "`finetune`", "make the classifier anew")
    noted = settings_from(PromptConfig, content.prompt, f"{file}, prompt"), content.class_names, content.multi_label
    for name, asked, found in (("class_names", class_names, noted[1]), ("prompt", prompt, noted[0])):
        if asked not in (None, found):
            raise UserError(f"{file} says {name} = {found!r}, asked for is {asked!r}; leave {name} out, or use that")
    return noted
