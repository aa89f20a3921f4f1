"""Loads by names on the Hub in a process of its own: its address is read once, when huggingface_hub is imported.

Writes what each loading gave, or the UserError it ended with, and how long it took, to a JSON file.
"""

import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import torch

from sae_lens_classif.config.classifier import DataConfig, PromptConfig
from sae_lens_classif.data.texts import Split, load_text_data
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.embeddings import embed_texts
from sae_lens_classif.hooks.batching import states_of_inputs
from sae_lens_classif.hooks.load import load_classifier


class Outcome(TypedDict):
    """What one loading gave, or the message of the UserError it ended with, or the traceback of any other error."""

    value: Any
    error: str | None
    seconds: float


class Job(TypedDict):
    """How the classifier is asked, and about which texts; what is loaded is the same each time."""

    template: str
    label_word: str
    class_names: list[str]
    texts: list[str]


def loadings(job: Job) -> dict[str, Callable[[], Any]]:
    """Each loading by its name."""
    prompt = PromptConfig(template=job["template"], label_word=job["label_word"])

    def states(model: str) -> list[list[float]]:
        classifier = load_classifier(model, tuple(job["class_names"]), prompt, device="cpu")
        values: list[list[float]] = states_of_inputs(classifier, classifier.inputs(job["texts"]), 4096).hidden.tolist()
        return values

    def logits(model: str, of_prompts: bool) -> list[list[float]]:
        asked = PromptConfig(template="{text} price ", label_words=("fox", "rain", "loan")) if of_prompts else None
        classifier = load_classifier(model, tuple(job["class_names"]), asked, device="cpu")
        values: list[list[float]] = states_of_inputs(classifier, classifier.inputs(job["texts"]), 4096).logits.tolist()
        return values

    def data(split: Split, source: str, **settings: Any) -> dict[str, Any]:
        loaded = load_text_data(DataConfig(source=source, **settings), split)
        return {"texts": loaded.texts, "labels": loaded.labels.tolist(), "class_names": loaded.class_names}

    def embed(encoder: str) -> Any:
        return embed_texts(job["texts"], encoder, "cpu").tolist()

    return {
        "states": lambda: states("someone/tiny-neox"),
        "topics train": lambda: data("train", "someone/topics"),
        "topics test": lambda: data("test", "someone/topics"),
        "subset": lambda: data("train", "someone/several", subset="mood"),
        "plain": lambda: data("train", "someone/plain"),
        "embeddings": lambda: embed("someone/tiny-encoder"),
        "head": lambda: logits("someone/bert-head", of_prompts=False),
        "adapter": lambda: logits("someone/bert-lora", of_prompts=False),
        "soft prompt": lambda: logits("someone/llama-soft", of_prompts=True),
        "adapter without base": lambda: logits("someone/baseless", of_prompts=False),
        "pickled adapter": lambda: logits("someone/pickled", of_prompts=False),
        "no such model": lambda: states("nobody/no-model"),
        "no such data": lambda: data("train", "nobody/no-data"),
        "no such encoder": lambda: embed("nobody/no-encoder"),
        "pickled encoder": lambda: embed("someone/pickled-encoder"),
        "gated model": lambda: states("someone/gated"),
        "gated data": lambda: data("train", "someone/gated"),
        "gated encoder": lambda: embed("someone/gated"),
        "bad token model": lambda: states("someone/expired"),
        "bad token data": lambda: data("train", "someone/expired"),
        "bad token encoder": lambda: embed("someone/expired"),
        "no weights": lambda: states("someone/weightless"),
        "no tokenizer": lambda: states("someone/wordless"),
        "no such split": lambda: data("train", "someone/topics", train="tarin"),
        "no such subset": lambda: data("train", "someone/several", subset="modo"),
        "no subset": lambda: data("train", "someone/several"),
        "no texts": lambda: data("train", "someone/empty"),
    }


def attempt(load: Callable[[], Any]) -> Outcome:
    """Load one thing."""
    start = time.perf_counter()
    try:
        value, error = load(), None
    except Exception as raised:  # so that one failure leaves the others to be looked at
        value, error = None, str(raised) if type(raised) is UserError else traceback.format_exc()
    return {"value": value, "error": error, "seconds": time.perf_counter() - start}


if __name__ == "__main__":
    torch.set_num_threads(1)
    job: Job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    outcomes = {name: attempt(load) for name, load in loadings(job).items()}
    Path(sys.argv[2]).write_text(json.dumps(outcomes), encoding="utf-8")
