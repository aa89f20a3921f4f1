"""Times of several things in turn, since a machine's speed changes from minute to minute; ratios of them do not."""

import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import torch

N_THREADS = 2


def medians_in_turn(sides: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1) -> dict[str, float]:
    """Median seconds of each side, all sides once a round.

    Args:
        sides: What to time, by name.
        repeats: Rounds that count.
        warm_up: Rounds before them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(warm_up + repeats):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}


def peak_memory() -> float:
    """The most memory that this process has had so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def start() -> None:
    """Use two threads, and say on what machine."""
    torch.set_num_threads(N_THREADS)
    print(f"<!-- {_processor()}, {N_THREADS} threads, Python {platform.python_version()}, torch {torch.__version__};")
    print(f"     {time.strftime('%Y-%m-%d')}: python {' '.join(sys.argv)} -->")


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as info:
            return next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
