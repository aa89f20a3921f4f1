"""The figures of a run, from what was measured."""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from sae_lens_classif.artifacts import Artifact, note_files
from sae_lens_classif.evals.comparison import ComparedMethod
from sae_lens_classif.evals.measures import FLOOR, RANDOM, find_measure
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
    sufficiency_curves,
)
from sae_lens_classif.figures.style import Figure, NewFigure, On, save_figure
from sae_lens_classif.figures.tradeoffs import Marks, tradeoffs
from sae_lens_classif.figures.word_clouds import ConceptWords, word_clouds
from sae_lens_classif.methods.base import ConceptMethod
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.runs.names import names_of
from sae_lens_classif.runs.pictures import MADE_FROM
from sae_lens_classif.runs.results import read_summary
from sae_lens_classif.runs.tables import competing
from sae_lens_classif.store.store import ActivationStore

Found = Mapping[str, Mapping[str, Measures]]  # of each method, by its title, what each evaluation found
logger = logging.getLogger(__name__)
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
    names = names_of(run, name)
    made_from = {"settings_sha256": entry["settings_sha256"], "evals": sorted(measures)}
    made_from["names"] = {str(index): given for index, given in names.items()}
    status = Artifact(folder, folder / MADE_FROM, made_from).status()
    if status.state == "current":
        return
    if status.state == "damaged":
        logger.warning("%s: the figures are drawn anew", status.reason)
    shutil.rmtree(folder, ignore_errors=True)  # it may hold a figure of what is not measured any more
    about, gamma = "95 % intervals over texts", run.cfg.sae.gamma
    figures: list[Callable[[], object]] = [
        lambda: save_figure(map_of_concepts(method, store), folder / "concept_map"),
        lambda: _draw_words(measures, entry["concepts"], names, store.class_names, folder),
        lambda: draw_curves_of_methods(folder, {title: measures}, store.class_names, gamma, about),
    ]
    for draw in tqdm(figures, desc="Drawing", unit=" figures", delay=1):
        draw()
    note_files(folder / MADE_FROM, made_from)


def _draw_words(
    measures: Mapping[str, Measures],
    concepts: Sequence[Mapping[str, Any]],
    names: Mapping[int, str],
    class_names: Sequence[str],
    folder: Path,
) -> None:
    if "interpretability" not in measures:
        return
    class_of = {concept["index"]: concept["class_name"] for concept in concepts}
    save_figure(clouds_of_concepts(measures["interpretability"], class_of, names, class_names), folder / "word_clouds")


def map_of_concepts(method: ConceptMethod, store: ActivationStore, **choices: Any) -> Figure:
    """Draw where a method's concepts lie among the texts.

    Args:
        method: The fitted method.
        store: Hidden states of the texts.
        **choices: ``max_texts``, ``link`` and ``on`` of ``figures.concept_map.concept_map``.
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


def clouds_of_concepts(
    found: Measures,
    class_of: Mapping[int, str],
    names: Mapping[int, str],
    class_names: Sequence[str],
    new: NewFigure = Figure,
) -> Figure:
    """Draw the key words of each concept.

    Args:
        found: What the evaluation of interpretability found.
        class_of: Class of each living concept.
        names: Names that concepts were given.
        class_names: Names of the classes.
        new: Makes the figure.
    """
    words = found.details["key_words"]
    cells = [ConceptWords(index, class_of.get(index), own, names.get(index, "")) for index, own in enumerate(words)]
    return word_clouds(cells, class_names, new)


def draw_curves_of_methods(folder: Path, methods: Found, class_names: Sequence[str], gamma: float, about: str) -> None:
    """Draw ``activation_rates``, ``sentence_sim``, ``ablation`` and ``sufficiency``, one line or panel a method.

    Args:
        folder: Where to.
        methods: For each method, by its title, what was measured of it.
        class_names: Names of the classes; a method that is alone has one ablation curve for each.
        gamma: The activation rate that costs nothing in ClassifSAE's loss.
        about: What the intervals are over.
    """
    _draw(folder, "activation_rates", rates_of(methods, gamma))
    _draw(folder, "sentence_sim", sentence_sim_of(methods, about))
    _draw(folder, "ablation", ablation_of(methods, class_names, about))
    _draw(folder, "sufficiency", sufficiency_of(methods))


def draw_tradeoffs(folder: Path, figure: Figure | None) -> None:
    """Draw ``tradeoffs``, or take away one of before.

    Args:
        folder: Where to.
        figure: What ``tradeoffs_of`` gives.
    """
    _draw(folder, "tradeoffs", figure)


def _draw(folder: Path, name: str, figure: Figure | None) -> None:
    for suffix in _SUFFIXES:  # one of what is not measured any more would stay
        (folder / f"{name}.{suffix}").unlink(missing_ok=True)
    if figure is not None:
        save_figure(figure, folder / name)


def rates_of(methods: Found, gamma: float, on: On = Figure) -> Figure | None:
    """On how many texts each concept is active, one panel a method; None where ``completeness`` was not measured.

    Args:
        methods: What was measured.
        gamma: The activation rate that costs nothing in ClassifSAE's loss.
        on: Makes the figure; or axes for one method.
    """
    complete = _found(methods, "completeness")
    rates = {title: found.details["activation_rate"] for title, found in complete.items()}
    return activation_rates(rates, gamma, on=on) if rates else None


def sentence_sim_of(methods: Found, about: str, on: On = Figure) -> Figure | None:
    """How alike texts are that share concepts, one line a method; None where ``interpretability`` was not measured.

    Args:
        methods: What was measured.
        about: What the intervals are over.
        on: Makes the figure; or axes.
    """
    similar = _found(methods, "interpretability")
    curves = {title: _sentence_sim(found.metrics) for title, found in similar.items()}
    floors = {found.metrics[FLOOR] for found in similar.values()}
    floor = floors.pop() if len(floors) == 1 else None  # each of several data sets has its own
    return sentence_sim_curves(curves, floor, about, on=on) if curves else None


def ablation_of(methods: Found, class_names: Sequence[str], about: str, new: NewFigure = Figure) -> Figure | None:
    """What zeroing a class's concepts does, one line a method; None where ``causality`` was not measured.

    Args:
        methods: What was measured.
        class_names: Names of the classes; a method that is alone has one line for each.
        about: What the intervals are over.
        new: Makes the figure.
    """
    rows = {title: found.details["global"] for title, found in _found(methods, "causality").items()}
    tvd, flips = (_ablation(rows, measure, class_names) for measure in ("tvd", "label_flip_rate"))
    return ablation_curves(tvd, flips, SHARES, about, new) if rows else None


def sufficiency_of(methods: Found, new: NewFigure = Figure) -> Figure | None:
    """How few concepts carry a decision, one line a method; None where ``sufficiency`` was not measured.

    Args:
        methods: What was measured; a method that is alone stands beside what chance gives.
        new: Makes the figure.
    """
    found = {title: measures.details for title, measures in _found(methods, "sufficiency").items()}
    if not found:
        return None
    kept, changed = (_carrying(found, name) for name in ("sufficiency", "necessity"))
    order = "Each text's most influential concepts first." if len(found) > 1 else ""  # else the lines say it
    return sufficiency_curves(kept, changed, order, new)


def tradeoffs_of(methods: Mapping[str, Marks], about: str, new: NewFigure = Figure) -> Figure | None:
    """Scaled RAcc against the activation rate and the influence, a mark a method; None where there is no scaled RAcc.

    Args:
        methods: For each method, by its title, its values.
        about: What the small marks are.
        new: Makes the figure.
    """
    y, *against = map(find_measure, TRADEOFFS)
    is_known = any(own.values.get(y.name) for own in methods.values())
    return tradeoffs(y, against, methods, about, new) if is_known else None


def tradeoffs_of_seeds(methods: Sequence[ComparedMethod], new: NewFigure = Figure) -> Figure | None:
    """The same of the methods of one comparison, a small mark a seed.

    Args:
        methods: The rows of the comparison.
        new: Makes the figure.
    """
    rivals = competing(methods)
    marks = {
        row.title: Marks(
            {name: [one for one in row.estimate(name).by_seed if one is not None] for name in TRADEOFFS}, row in rivals
        )
        for row in methods
        if all(row.estimate(name).mean is not None for name in TRADEOFFS)
    }
    return tradeoffs_of(marks, "Small marks: seeds." if any(len(row.seeds) > 1 for row in methods) else "", new)


def _found(methods: Found, evaluation: str) -> dict[str, Measures]:
    """What an evaluation found of each method that it was made of."""
    return {title: measures[evaluation] for title, measures in methods.items() if evaluation in measures}


def _sentence_sim(metrics: Mapping[str, Any]) -> Curve:
    low, high = zip(*(pair or (None, None) for pair in metrics["sentence_sim_ci95"]), strict=True)
    return Curve(metrics["sentence_sim"], low, high)


def _ablation(rows: Mapping[str, Any], measure: str, class_names: Sequence[str]) -> dict[str, Curve]:
    if len(rows) == 1:
        return ablation_of_each_class(next(iter(rows.values())), measure, class_names, SHARES)
    return {title: ablation_over_classes(own, measure, SHARES) for title, own in rows.items()}


def _carrying(methods: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Curve]:
    """``sufficiency`` or ``necessity`` of each method; of a method alone also what chance gives."""
    if len(methods) > 1:
        return {title: Curve(details[f"{name}_curve"]) for title, details in methods.items()}
    (details,) = methods.values()
    orders = {
        "the most influential concepts first": f"{name}_curve",
        "the same concepts in a random order": f"{name}_random_curve",
        "random directions, the most influential first": f"{name}{RANDOM}_curve",
    }
    return {said: Curve(details[curve]) for said, curve in orders.items() if curve in details}
