"""What the recipe ``robust`` costs beside the paper's: ``python benchmarks/recipe_cost.py [runs/demo] [--steps 500]``.

Trains on a run's own states by both recipes in turn, without touching the run folder; without a run on made-up states
of pythia-410m's size (1024 wide, 2,048 latents) with a last block as wide. Prints the median seconds of so many steps,
the clustering at the start by itself, and the ratio for the paper's 20,000 steps.
"""

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from synthetic_classifier import new_classifier
from synthetic_store import write_store
from timing import medians_in_turn, start

import sae_lens_classif as slc
from sae_lens_classif.config.run import RECIPES, Recipe, RunConfig
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.runs.run_classifier import open_run_classifier
from sae_lens_classif.training.train import new_training_sae


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--every", type=int, help="The model is run on in every so manieth step.")
    asked = parser.parse_args()
    start()
    if asked.run is not None:
        cfg = slc.load_config(asked.run / "config.yaml")
        classifier: TextClassifier = open_run_classifier(RunFolder(asked.run, cfg))
        measure(cfg, slc.ActivationStore(asked.run / "activations" / "train"), classifier, asked.steps, asked.every)
        return
    with tempfile.TemporaryDirectory() as folder:
        _, classifier = new_classifier(1000, 1024, 2, 16, 8)
        states = write_store(Path(folder) / "states", 20_000, 1024, classifier)
        measure(RunConfig(), states, classifier, asked.steps, asked.every)


def measure(
    cfg: RunConfig, states: slc.ActivationStore, classifier: TextClassifier, steps: int, every: int | None
) -> None:
    """Time both recipes and print what was found."""
    train = replace(cfg.train, total_samples=steps * cfg.train.batch_size, n_validations=1)
    settings = {recipe: replace(cfg.sae, recipe=recipe, model_every=every or cfg.sae.model_every) for recipe in RECIPES}
    run_model = {"robust": classifier, "reference": None}

    def training(recipe: Recipe) -> None:
        slc.train_classifsae(states, settings[recipe], train, classifier=run_model[recipe])

    def starting(recipe: Recipe) -> None:
        new_training_sae(states, settings[recipe], train)

    whole = medians_in_turn({recipe: partial(training, recipe) for recipe in RECIPES}, repeats=3)
    begun = medians_in_turn({recipe: partial(starting, recipe) for recipe in RECIPES}, repeats=3)
    step = {recipe: (whole[recipe] - begun[recipe]) / steps for recipe in RECIPES}
    paper = {recipe: begun[recipe] + 20_000 * step[recipe] for recipe in RECIPES}
    sized = cfg.sae.sized(states.n_classes, states.d_in, states.multi_label)
    print(
        f"{states.d_in} × {sized.d_sae}, batches of {train.batch_size}, the model run on for {sized.model_rows} texts"
    )
    for recipe in RECIPES:
        print(f"{recipe}: start {begun[recipe]:.2f} s, step {1000 * step[recipe]:.1f} ms")
    ratio = whole["robust"] / whole["reference"]
    print(f"robust costs {ratio:.2f} times the reference's for {steps} steps, start and all,")
    print(f"and {paper['robust'] / paper['reference']:.2f} times for 20,000")


if __name__ == "__main__":
    main()
