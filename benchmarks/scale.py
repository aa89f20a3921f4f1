"""How time and memory grow: ``python benchmarks/scale.py [texts.parquet classifier]``.

Every measurement runs in a process of its own, whose peak of memory is its own. The exponent is the slope of log time
against log size: 1 is linear. Caching is measured where a file with a column ``text`` and a classifier that
``finetune`` made are given.
"""

import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from math import log
from pathlib import Path
from statistics import NormalDist, linear_regression
from tempfile import TemporaryDirectory

import torch
from synthetic_store import write_store
from timing import N_THREADS, peak_memory, start

import sae_lens_classif as slc
from sae_lens_classif.config.run import SAESettings, TrainConfig
from sae_lens_classif.evals.causality import conditional_causality
from sae_lens_classif.evals.completeness import completeness
from sae_lens_classif.evals.interpretability import interpretability
from sae_lens_classif.hooks.batching import states_of_inputs
from sae_lens_classif.hooks.interventions import InterventionLogits

_CLASSES, _EMBEDDING, _RESAMPLES = 4, 384, 20
Work = Callable[[int, str], float]


def train(n_states: int, folder: str) -> float:
    """400 steps at 128 x 256; the store is written before the clock starts."""
    store = write_store(Path(folder) / "store", n_states, 128)
    began = time.perf_counter()
    slc.train_classifsae(
        store, SAESettings(recipe="reference", d_sae=256), TrainConfig(total_samples=200_000, n_validations=1)
    )
    return time.perf_counter() - began


def train_width(d_sae: int, folder: str) -> float:
    """100 steps at d_in 512."""
    store = write_store(Path(folder) / "store", 20_000, 512)
    began = time.perf_counter()
    slc.train_classifsae(
        store, SAESettings(recipe="reference", d_sae=d_sae), TrainConfig(total_samples=50_000, n_validations=1)
    )
    return time.perf_counter() - began


def evaluate(n_texts: int, _: str, n_concepts: int = 20) -> float:
    """The three evaluations on tensors, about three concepts active on a text, 20 resamplings."""
    torch.manual_seed(0)
    level = NormalDist().inv_cdf(1 - min(0.6, 3 / n_concepts))
    concepts = (torch.randn(n_texts, n_concepts) - level).relu()
    embeddings = torch.randn(n_texts, _EMBEDDING) + 0.3 * torch.randn(_EMBEDDING)
    logits, labels = torch.randn(n_texts, _CLASSES), torch.randint(_CLASSES, (n_texts,))
    text, concept = concepts.nonzero(as_tuple=True)
    pair = torch.randn(len(text), _CLASSES)
    ablated = InterventionLogits(logits, text, concept, pair, torch.zeros(0), logits, torch.zeros_like(logits))
    began = time.perf_counter()
    completeness(labels, ablated, labels, concepts, n_bootstrap=_RESAMPLES)
    conditional_causality(ablated, labels, n_concepts, n_bootstrap=_RESAMPLES)
    interpretability(concepts, embeddings, n_bootstrap=_RESAMPLES)
    return time.perf_counter() - began


def evaluate_concepts(n_concepts: int, folder: str) -> float:
    """The same for 7,600 texts."""
    return evaluate(7600, folder, n_concepts)


def cache(n_texts: int, _: str) -> float:
    """Hidden states and classes of so many of the given texts."""
    from datasets import Dataset

    texts = list(Dataset.from_parquet(sys.argv[1])[:n_texts]["text"])
    classifier = slc.load_classifier(sys.argv[2])
    began = time.perf_counter()
    states_of_inputs(classifier, classifier.inputs(texts))
    return time.perf_counter() - began


_MEASUREMENTS: tuple[tuple[str, str, Work, tuple[int, ...]], ...] = (
    ("training, 400 steps", "states in the store", train, (10_000, 100_000, 1_000_000)),
    ("training, 100 steps at d_in 512", "d_sae", train_width, (256, 1024, 4096, 16_384)),
    ("evaluations", "texts", evaluate, (10_000, 100_000, 1_000_000)),
    ("evaluations of 7,600 texts", "concepts", evaluate_concepts, (5, 20, 50, 200)),
    ("caching", "texts", cache, (1_000, 5_000, 20_000, 40_000)),
)


def _measure(work: Work, size: int) -> tuple[float, float]:
    torch.set_num_threads(N_THREADS)
    before = peak_memory()
    with TemporaryDirectory() as folder:
        return work(size, folder), peak_memory() - before


def _in_own_process(work: Work, size: int) -> tuple[float, float]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, work, size).result()


if __name__ == "__main__":
    start()
    print("| what | grows | sizes | seconds | GiB at the peak, without the imports | exponent of the time |")
    print("|---|---|---|---|---|---:|")
    for what, grows, work, sizes in _MEASUREMENTS:
        if work is cache and len(sys.argv) < 3:
            continue
        found = [_in_own_process(work, size) for size in sizes]
        cells = (
            " / ".join(f"{size:,}" for size in sizes),
            " / ".join(f"{seconds:.1f}" for seconds, _ in found),
            " / ".join(f"{peak:.2f}" for _, peak in found),
        )
        exponent = linear_regression([log(size) for size in sizes], [log(seconds) for seconds, _ in found]).slope
        print(f"| {what} | {grows} | {' | '.join(cells)} | {exponent:.2f} |", flush=True)
