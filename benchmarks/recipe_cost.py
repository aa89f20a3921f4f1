"""What the recipe ``robust`` costs beside the paper's: ``python benchmarks/recipe_cost.py runs/demo``.

Trains on the run's own states by both recipes in turn, without touching the run folder; prints the median seconds of
500 steps and their ratio.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from timing import medians_in_turn

import sae_lens_classif as slc
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.runs.steps import open_run_classifier

run = Path(sys.argv[1])
cfg = slc.load_config(run / "config.yaml")
classifier = open_run_classifier(RunFolder(run, cfg))
states = slc.ActivationStore(run / "activations" / "train")
train = replace(cfg.train, total_samples=500 * cfg.train.batch_size, n_validations=1)


def training(settings: slc.SAESettings) -> None:
    slc.train_classifsae(states, settings, train, classifier=classifier)


by_recipe = {"robust": replace(cfg.sae, recipe="robust"), "reference": replace(cfg.sae, recipe="reference")}
seconds = medians_in_turn({name: partial(training, settings) for name, settings in by_recipe.items()}, repeats=3)
sized = cfg.sae.sized(states.n_classes, states.d_in)
print(f"{states.d_in} × {sized.d_sae}, batches of {train.batch_size}, the model run on for {sized.model_rows} texts:")
print(", ".join(f"{recipe} {value:.1f} s" for recipe, value in seconds.items()), "for 500 steps;")
print(f"robust costs {seconds['robust'] / seconds['reference']:.2f} times the reference's")
