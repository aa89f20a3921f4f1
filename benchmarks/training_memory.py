"""Memory of training from a large store: ``python benchmarks/training_memory.py [states]``.

The store, 2 million states x 1024 in float16 unless said, is written by another process first.
"""

import multiprocessing
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from synthetic_store import write_store
from timing import peak_memory, start

import sae_lens_classif as slc
from sae_lens_classif.config.run import SAESettings, TrainConfig

_D_IN, _STEPS, _BATCH = 1024, 400, 500


if __name__ == "__main__":
    start()
    n_states = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        writer = multiprocessing.get_context("spawn").Process(target=write_store, args=(path, n_states, _D_IN))
        writer.start()
        writer.join()
        before = peak_memory()
        slc.train_classifsae(
            slc.ActivationStore(path),
            SAESettings(recipe="reference", d_sae=2048),
            TrainConfig(total_samples=_STEPS * _BATCH, batch_size=_BATCH, n_validations=1),
        )
        print("| states | GiB on disk | GiB after the imports | GiB more at the peak |")
        print("|---:|---:|---:|---:|")
        on_disk = sum(file.stat().st_size for file in path.iterdir()) / 2**30
        print(f"| {n_states:,} × {_D_IN} | {on_disk:.1f} | {before:.2f} | {peak_memory() - before:.2f} |")
