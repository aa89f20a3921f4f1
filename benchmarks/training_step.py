"""One training step against SAELens' own and one dense product: ``python benchmarks/training_step.py [profile]``.

With ``profile`` it shows where the time of our step goes instead.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from sae_lens import SAETrainer, TopKTrainingSAE, TopKTrainingSAEConfig
from timing import medians_in_turn, start

from sae_lens_classif import ClassifSAETrainer, ClassifTrainingSAE, ClassifTrainingSAEConfig, SAESettings, TrainConfig
from sae_lens_classif.training.train import trainer_config

_TRAIN, _CLASSES = TrainConfig(), 4
_BATCH, _CFG = _TRAIN.batch_size, trainer_config(_TRAIN, None, "cpu")


def _batches(d_in: int, labelled: bool) -> Iterator[torch.Tensor]:
    """States near a 64-dimensional plane, as hidden states are."""
    torch.manual_seed(0)
    basis = torch.randn(64, d_in) / 8
    states = [torch.randn(_BATCH, 64) @ basis + 0.1 * torch.randn(_BATCH, d_in) for _ in range(20)]
    labels = [torch.randint(_CLASSES, (_BATCH, 1)).float() for _ in states]
    if labelled:
        states = [torch.cat([state, label], dim=1) for state, label in zip(states, labels, strict=True)]
    while True:
        yield from states


def _step_of(trainer: SAETrainer[Any, Any]) -> Callable[[], None]:
    def step() -> None:
        trainer.step(next(trainer.data_provider))
        trainer.n_training_steps += 1

    return step


def _ours(d_in: int, d_sae: int) -> Callable[[], None]:
    cfg = ClassifTrainingSAEConfig(d_in=d_in, d_sae=d_sae, n_classes=_CLASSES, total_training_steps=_TRAIN.total_steps)
    return _step_of(ClassifSAETrainer(_CFG, ClassifTrainingSAE(cfg), _batches(d_in, True)))


def _row(d_in: int, d_sae: int) -> str:
    saelens = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d_in, d_sae=d_sae, k=SAESettings.k))
    x, W = torch.randn(_BATCH, d_in), torch.randn(d_in, d_sae)
    seconds = medians_in_turn(
        {
            "ours": _ours(d_in, d_sae),
            "SAELens": _step_of(SAETrainer(_CFG, saelens, _batches(d_in, False))),
            "product": lambda: x @ W,
        },
        repeats=90,  # before any latent is dead: SAELens' term for those is another than ours
        warm_up=5,
    )
    times = " | ".join(f"{1e3 * value:.1f} ms" for value in seconds.values())
    ratios = f"{seconds['SAELens'] / seconds['ours']:.2f} | {seconds['ours'] / seconds['product']:.2f}"
    return f"| {d_in} × {d_sae} | {times} | {ratios} |"


def _profile(d_in: int, d_sae: int, n_steps: int = 50) -> str:
    """The operations that take longest, in ms a step, and how many there are."""
    step = _ours(d_in, d_sae)
    for _ in range(10):
        step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(n_steps):
            step()
    operations = sorted(profiler.key_averages(), key=lambda own: -own.self_cpu_time_total)
    total = sum(own.self_cpu_time_total for own in operations)
    calls = sum(own.count for own in operations)
    rows = [f"| {own.key} | {own.self_cpu_time_total / n_steps / 1e3:.2f} |" for own in operations[:16]]
    title = f"{d_in} × {d_sae}: {total / n_steps / 1e3:.1f} ms in {calls / n_steps:.0f} operations"
    return "\n".join([f"| {title} | ms |", "|---|---:|", *rows, ""])


start()
if sys.argv[1:] == ["profile"]:
    for sizes in ((1024, 2048), (128, 256)):
        print(_profile(*sizes), flush=True)
    sys.exit()
print("| d_in × d_sae | ClassifSAE | SAELens TopK | one product | times as fast as SAELens | in products |")
print("|---|---:|---:|---:|---:|---:|")
for sizes in ((1024, 2048), (128, 256), (512, 2048), (1024, 8192)):
    print(_row(*sizes), flush=True)
