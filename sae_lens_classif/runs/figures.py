"""The figures of a run, from what was measured."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from sae_lens_classif.artifacts import Artifact
from sae_lens_classif.evals.comparison import ComparedMethod
from sae_lens_classif.evals.measures import FLOOR, find_measure
from sae_lens_classif.evals.results import Measures
from sae_lens_classif.evals.segments import SHARES, segments
from sae_lens_classif.figures.concept_map import concept_map
from sae_lens_classif.figures.curves import (
    Curve,
    ablation_curves,
    ablation_of_each_class,
    ablation_over_classes,
    activation_rates,
    sentence_sim_curves,
)
from sae_lens_classif.figures.style import save_figure
from sae_lens_classif.figures.tradeoffs import Marks, tradeoffs
from sae_lens_classif.figures.word_clouds import ConceptWords, word_clouds
from sae_lens_classif.files import write_json
from sae_lens_classif.methods.base import ConceptMethod
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.runs.results import read_summary
from sae_lens_classif.runs.tables import competing
from sae_lens_classif.store.store import ActivationStore

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MADE_FROM = "made_from.json"
_SUFFIXES = ("png", "svg")
TRADEOFFS = ("scaled_recovery", "mean_activation_rate", "influence")  # the first is drawn against the others


def draw_method(
    run: RunFolder,
    name: str,
    title: str,
    method: ConceptMethod,
    measures: Mapping[str, Measures],
    store: ActivationStore,
) -> None:
    """Draw a method's own figures into ``figures/<name>/``, unless they are of these results already.

    Args:
        run: The run folder; ``summary.json`` has an entry of the method.
        name: Name of the method.
        title: How figures call it.
        method: The fitted method.
        measures: What was measured of it; nothing where it gave NaN, and then nothing is drawn.
        store: Hidden states of the test texts.
    """
    folder = run.figures / name
    if not measures:
        shutil.rmtree(folder, ignore_errors=True)
        return
    entry = read_summary(run)["methods"][name]
    made_from = {"settings_sha256": entry["settings_sha256"], "evals": sorted(measures)}
    if Artifact(folder, folder / _MADE_FROM, made_from).status().state == "current":
        return
    shutil.rmtree(folder, ignore_errors=True)  # it may hold a figure of what is not measured any more
    about, gamma = "95 % intervals over texts", run.cfg.sae.gamma
    figures: list[Callable[[], object]] = [
        lambda: save_figure(map_of_concepts(method, store), folder / "concept_map"),
        lambda: _draw_words(measures, entry["concepts"], store.class_names, folder),
        lambda: draw_curves_of_methods(folder, {title: measures}, store.class_names, gamma, about),
    ]
    for draw in tqdm(figures, desc="Drawing", unit=" figures", delay=1):
        draw()
    write_json(folder / _MADE_FROM, {**made_from, "files": sorted(path.name for path in folder.iterdir())})


def _draw_words(
    measures: Mapping[str, Measures],
    concepts: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    folder: Path,
) -> None:
    if "interpretability" not in measures:
        return
    words = measures["interpretability"].details["key_words"]
    class_of = {concept["index"]: concept["class_name"] for concept in concepts}
    cells = [ConceptWords(index, class_of.get(index), weights) for index, weights in enumerate(words)]
    save_figure(word_clouds(cells, class_names), folder / "word_clouds")


def map_of_concepts(method: ConceptMethod, store: ActivationStore, **choices: Any) -> "Figure":
    """Draw where a method's concepts lie among the texts.

    Args:
        method: The fitted method.
        store: Hidden states of the texts.
        **choices: ``max_texts`` and ``link`` of ``figures.concept_map.concept_map``.
    """
    hidden = store.read("hidden").float()
    labels, directions = store.read("label"), method.directions()
    found = segments(method.encode(hidden), labels, store.n_classes, store.rule)
    classes = store.rule.groups(labels, store.n_classes).numpy()  # a text has one colour
    alive = np.array([found.class_of(index) is not None for index in range(len(found.class_shares))])
    return concept_map(
        hidden.numpy(), classes, store.class_names, directions.numpy() if directions is not None else None,
        found.class_shares.numpy(), found.mean_activation.numpy(), alive, **choices,
    )  # fmt: skip


def draw_curves_of_methods(
    folder: Path, methods: Mapping[str, Mapping[str, Measures]], class_names: Sequence[str], gamma: float, about: str
) -> None:
    """Draw ``activation_rates``, ``sentence_sim`` and ``ablation``, one line or panel a method.

    Args:
        folder: Where to.
        methods: For each method, by its title, what was measured of it.
        class_names: Names of the classes; a method that is alone has one ablation curve for each.
        gamma: The activation rate that costs nothing in ClassifSAE's loss.
        about: What the intervals are over.
    """
    for name in ("activation_rates", "sentence_sim", "ablation"):
        for suffix in _SUFFIXES:  # one of what is not measured any more would stay
            (folder / f"{name}.{suffix}").unlink(missing_ok=True)
    if complete := _found(methods, "completeness"):
        rates = {title: found.details["activation_rate"] for title, found in complete.items()}
        save_figure(activation_rates(rates, gamma), folder / "activation_rates")
    if similar := _found(methods, "interpretability"):
        curves = {title: _sentence_sim(found.metrics) for title, found in similar.items()}
        floor = next(iter(similar.values())).metrics[FLOOR]
        save_figure(sentence_sim_curves(curves, floor, about), folder / "sentence_sim")
    if causal := _found(methods, "causality"):
        rows = {title: found.details["global"] for title, found in causal.items()}
        tvd, flips = (_ablation(rows, measure, class_names) for measure in ("tvd", "label_flip_rate"))
        save_figure(ablation_curves(tvd, flips, SHARES, about), folder / "ablation")


def draw_tradeoffs(folder: Path, figure: "Figure | None") -> None:
    """Draw ``tradeoffs``, or take away one of before.

    Args:
        folder: Where to.
        figure: What ``tradeoffs_of`` gives.
    """
    for suffix in _SUFFIXES:
        (folder / f"tradeoffs.{suffix}").unlink(missing_ok=True)
    if figure is not None:
        save_figure(figure, folder / "tradeoffs")


def tradeoffs_of(methods: Mapping[str, Marks], about: str) -> "Figure | None":
    """Scaled RAcc against the activation rate and the influence, a mark a method; None where there is no scaled RAcc.

    Args:
        methods: For each method, by its title, its values.
        about: What the small marks are.
    """
    y, *against = map(find_measure, TRADEOFFS)
    return tradeoffs(y, against, methods, about) if any(own.values.get(y.name) for own in methods.values()) else None


def tradeoffs_of_seeds(methods: Sequence[ComparedMethod]) -> "Figure | None":
    """The same of the methods of one comparison, a small mark a seed.

    Args:
        methods: The rows of the comparison.
    """
    rivals = competing(methods)
    marks = {
        row.title: Marks(
            {name: [one for one in row.estimates[name].by_seed if one is not None] for name in TRADEOFFS}, row in rivals
        )
        for row in methods
        if all(row.estimates[name].mean is not None for name in TRADEOFFS)
    }
    return tradeoffs_of(marks, "Small marks: seeds." if any(len(row.seeds) > 1 for row in methods) else "")


def _found(methods: Mapping[str, Mapping[str, Measures]], evaluation: str) -> dict[str, Measures]:
    """What an evaluation found of each method that it was made of."""
    return {title: measures[evaluation] for title, measures in methods.items() if evaluation in measures}


def _sentence_sim(metrics: Mapping[str, Any]) -> Curve:
    low, high = zip(*(pair or (None, None) for pair in metrics["sentence_sim_ci95"]), strict=True)
    return Curve(metrics["sentence_sim"], low, high)


def _ablation(rows: Mapping[str, Any], measure: str, class_names: Sequence[str]) -> dict[str, Curve]:
    if len(rows) == 1:
        return ablation_of_each_class(next(iter(rows.values())), measure, class_names, SHARES)
    return {title: ablation_over_classes(own, measure, SHARES) for title, own in rows.items()}
