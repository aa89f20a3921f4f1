"""How much a ClassifSAE depends on its seed: ``python benchmarks/seeds.py runs/ag_news 0 1 2 3``.

Trains one on the run's own states for each seed, without touching the run folder, and prints a Markdown table.
"""

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import sae_lens_classif as slc
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.runs.steps import open_run_classifier

run = Path(sys.argv[1])
cfg = slc.load_config(run / "config.yaml")
classifier = open_run_classifier(RunFolder(run, cfg))
states = slc.ActivationStore(run / "activations" / "train")
test_states = slc.ActivationStore(run / "activations" / "test")
test_data = slc.load_text_data(cfg.data, "test")
evaluation = replace(cfg.evaluate, evals=("completeness", "causality"))
columns = {
    "recovery_accuracy": "RAcc",
    "mean_activation_rate": "mean rate",
    "max_activation_rate": "largest rate",
    "conditional_tvd": "TVD",
    "conditional_label_flip_rate": "flips",
}
print("| seed |", " | ".join(columns.values()), "|")
print("|---|" + "---|" * len(columns))
for seed in map(int, sys.argv[2:]):
    with TemporaryDirectory() as folder:
        slc.train_classifsae(states, cfg.sae, replace(cfg.train, seed=seed), classifier=classifier).save(folder)
        sae = slc.ClassifSAE.load_from_disk(folder)
    metrics = slc.evaluate(sae, classifier, test_states, test_data, evaluation).metrics
    print(f"| {seed} |", " | ".join(f"{metrics[name]:.3f}" for name in columns), "|", flush=True)
