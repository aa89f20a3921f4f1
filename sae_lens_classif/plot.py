"""The figures of a run, for notebooks and papers: ``slc.plot.concept_map(run)``.

Each function has the name of its file in the run's ``figures/`` and shows the same. It takes a run (``slc.open_run``)
or its folder, reads what was measured, and returns matplotlib's axes, for titles, sizes and files of your own:
``slc.plot.sentence_sim(run).figure.savefig("sim.pdf")``. What has one panel can be drawn on your axes (``ax``), in your
own style; without ``ax`` pyplot makes a new figure, which notebooks show. What has several panels always makes its
figure and returns an array of axes, as pandas does with ``subplots=True``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.results import Measures
from sae_lens_classif.runs.folder import METHOD
from sae_lens_classif.runs.open_run import Run, open_run

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from sae_lens_classif.figures.style import NewFigure, On

AnyRun: TypeAlias = Run | str | Path
AnyRuns: TypeAlias = AnyRun | Mapping[str, AnyRun]
__all__ = [
    "ablation",
    "activation_rates",
    "concept_map",
    "sentence_sim",
    "sufficiency",
    "sweep",
    "tradeoffs",
    "word_clouds",
]
_OVER_TEXTS = "95 % intervals over texts"


def __dir__() -> list[str]:
    return __all__


def activation_rates(run: AnyRun, ax: "Axes | None" = None) -> "Axes":
    """On which share of the test texts each concept is active: a bar a concept, the most often active first.

    A concept that is active on nearly all texts says nothing about any of them. The dashed line is what ClassifSAE's
    loss aims at (``sae.gamma``).

    Args:
        run: A run, or its folder.
        ax: Where to draw; default: a new figure.

    Returns:
        The axes.

    Raises:
        UserError: If ``completeness`` was not measured.
    """
    from sae_lens_classif.runs.figures import rates_of

    opened = _opened(run)
    return _one(rates_of(_found(opened, "completeness"), opened.cfg.sae.gamma, _on(ax)), ax)


def sentence_sim(run: AnyRuns, ax: "Axes | None" = None) -> "Axes":
    """How alike two test texts are (mean cosine of their embeddings) by the number of concepts that they share.

    The line should rise, from about what any two texts have in common: the dotted line.

    Args:
        run: A run or its folder, or several by what they are to be called:
            ``{"ClassifSAE": run, "ICA": slc.open_run("runs/x", "ica")}``, a line each.
        ax: Where to draw; default: a new figure.

    Returns:
        The axes.

    Raises:
        UserError: If ``interpretability`` was not measured.
    """
    from sae_lens_classif.runs.figures import sentence_sim_of

    return _one(sentence_sim_of(_found(run, "interpretability"), _OVER_TEXTS, _on(ax)), ax)


def concept_map(run: AnyRun, ax: "Axes | None" = None, max_texts: int = 5000) -> "Axes":
    """Where the concepts lie among the test texts: the plane in which the texts' hidden states differ most.

    Pale marks are texts, large marks with a name the mean of a class's texts. Pies with a number are concepts: their
    slices the classes on whose texts they are active, their area how active they are on the mean. A line ties a pie
    that had to make room to its own place; an arrow points to a place off the map.

    Args:
        run: A run, or its folder.
        ax: Where to draw, of the size that it has in its figure now; default: a new figure.
        max_texts: So many texts are drawn at most, chosen at random.

    Returns:
        The axes.

    Raises:
        UserError: If nothing is trained yet, or there are no hidden states.
    """
    from sae_lens_classif.runs.figures import map_of_concepts

    opened = _opened(run)
    return _one(map_of_concepts(opened.method, opened.states(), max_texts=max_texts, on=_on(ax)), ax)


def word_clouds(run: AnyRun) -> "NDArray[np.object_]":
    """The key words of each concept: the larger a word, the more it sets the concept's texts apart.

    Args:
        run: A run, or its folder.

    Returns:
        The axes, (n,): one a concept, in the order of their numbers.

    Raises:
        UserError: If ``interpretability`` was not measured.
    """
    from sae_lens_classif.runs.figures import clouds_of_concepts

    opened = _opened(run)
    measures = _measures(opened, "interpretability")
    class_of = {concept.index: concept.class_name for concept in opened.evaluation.concepts}
    class_names = opened.states().class_names
    return _all(clouds_of_concepts(measures, class_of, opened.given_names, class_names, _new()))


def ablation(run: AnyRuns) -> "NDArray[np.object_]":
    """What happens when more and more of a class's concepts are zeroed, the strongest first.

    Where the lines stay low the decisions do not hang on these concepts.

    Args:
        run: A run or its folder: a line a class. Or several by what they are to be called, as for ``sentence_sim``: a
            line each, the mean over classes.

    Returns:
        The axes, (2,): the shift of the class probabilities (TVD), and the share of texts with another predicted class.

    Raises:
        UserError: If ``causality`` was not measured.
    """
    from sae_lens_classif.runs.figures import ablation_of

    found = _found(run, "causality")
    first = next(iter(run.values())) if isinstance(run, Mapping) else run
    return _all(ablation_of(found, _opened(first).states().class_names, _OVER_TEXTS, _new()))


def sufficiency(run: AnyRuns) -> "NDArray[np.object_]":
    """How many decisions stay with a text's few strongest concepts alone, and how many change without them.

    Where few concepts carry a decision the lines rise steeply, and higher than those of chance. At 0 the first panel
    has what stays with no concept at all, the second what changes already with all concepts and nothing else of the
    hidden state.

    Args:
        run: A run or its folder, beside what chance gives; or several by what they are to be called, as for
            ``sentence_sim``, a line each.

    Returns:
        The axes, (2,): decisions that stay with these concepts alone, and that change without them.

    Raises:
        UserError: If ``sufficiency`` was not measured.
    """
    from sae_lens_classif.runs.figures import sufficiency_of

    return _all(sufficiency_of(_found(run, "sufficiency"), _new()))


def tradeoffs(run: AnyRun) -> "NDArray[np.object_]":
    """What each method of ``compare`` gives up: scaled RAcc against the activation rate and the influence.

    Filled marks compete, hollow ones do not; the dashed line is the front that no competing method beats in both.

    Args:
        run: A run, or its folder.

    Returns:
        The axes, (2,).

    Raises:
        UserError: If nothing was compared, or the scaled RAcc of no method is known.
    """
    from sae_lens_classif.runs.figures import tradeoffs_of_seeds

    opened = _opened(run)
    figure = tradeoffs_of_seeds(opened.comparison.methods, _new())
    if figure is None:
        raise UserError(
            f"{opened.folder / 'comparison.json'} has no scaled RAcc of any method; run `sae-lens-classif compare "
            f"--run {opened.folder}` with `completeness` among --evaluate.evals"
        )
    return _all(figure)


def sweep(run: AnyRun) -> "NDArray[np.object_]":
    """How the measures change over the grid of a sweep: a panel a measure, the first setting with several values below.

    Args:
        run: A run, or its folder.

    Returns:
        The axes, (n,), one a measure.

    Raises:
        UserError: If there was no sweep.
    """
    from sae_lens_classif.runs.sweep import figure_of

    return _all(figure_of([row.model_dump() for row in _opened(run).sweep.rows], _new()))


def _opened(run: AnyRun) -> Run:
    if isinstance(run, Run):
        return run
    if isinstance(run, str | Path):
        return open_run(run)
    raise UserError(f"run is {type(run).__name__}; give slc.open_run(...), or the folder of a run")


def _found(runs: AnyRuns, evaluation: str) -> dict[str, dict[str, Measures]]:
    """What an evaluation found of each run, by its title."""
    named = runs if isinstance(runs, Mapping) else {(opened := _opened(runs)).title: opened}
    if not named:
        raise UserError("no run is given; give one, or several as {name: run}")
    return {str(title): {evaluation: _measures(_opened(run), evaluation)} for title, run in named.items()}


def _measures(run: Run, evaluation: str) -> Measures:
    measures = run.evaluation.measures
    if evaluation not in measures:
        step = "evaluate" if run.method_name == METHOD else "compare"
        raise UserError(
            f"{run.folder} holds no evaluation `{evaluation}` of {run.method_name}; run `sae-lens-classif {step} --run "
            f"{run.folder} --evaluate.evals [{evaluation}]` first"
        )
    return measures[evaluation]


def _on(ax: "Axes | None") -> "On":
    """Where to draw: the user's axes, or a new figure."""
    from matplotlib.axes import Axes

    if ax is None:
        return _new()
    if not isinstance(ax, Axes):
        raise UserError(
            f"ax is {type(ax).__name__}; give one matplotlib Axes, such as the second that plt.subplots() gives"
        )
    return ax


def _new() -> "NewFigure":
    """Makes figures that a notebook shows."""
    import matplotlib.pyplot as plt

    return plt.figure


def _one(figure: "Figure | None", ax: "Axes | None") -> "Axes":
    return ax if ax is not None else _all(figure)[0]


def _all(figure: "Figure | None") -> "NDArray[np.object_]":
    import numpy as np

    assert figure is not None, "what it shows was measured"
    panels: NDArray[Any] = np.empty(len(figure.axes), dtype=object)
    panels[:] = figure.axes
    return panels
