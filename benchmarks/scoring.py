"""New texts scored against the classifier alone: ``python benchmarks/scoring.py RUN``.

The run's test texts, 2,000 at most, in turn: read by the classifier, as ``cache`` does it; and scored, with the class
through the concepts and what each active concept adds.
"""

import sys
from itertools import islice

import torch
from timing import medians_in_turn, start

import sae_lens_classif as slc
from sae_lens_classif.explaining.scoring import score
from sae_lens_classif.hooks.batching import states_of_inputs

_N_TEXTS = 2000


def main(folder: str) -> None:
    start()
    run = slc.open_run(folder)
    texts, classifier, method = run.texts().texts[:_N_TEXTS], run.classifier, run.method

    @torch.no_grad()
    def classify() -> None:
        for first in range(0, len(texts), 1024):
            states_of_inputs(classifier, classifier.inputs(texts[first : first + 1024]))

    sides = {"classifier": classify, "score": lambda: list(islice(score(method, classifier, texts), None))}
    seconds = medians_in_turn(sides, repeats=3)
    print("| model | classifier, texts/s | scored, texts/s | scored / classifier |")
    print("|---|---:|---:|---:|")
    speeds = {name: len(texts) / value for name, value in seconds.items()}
    ratio = speeds["score"] / speeds["classifier"]
    print(f"| {classifier.name} | {speeds['classifier']:.0f} | {speeds['score']:.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
