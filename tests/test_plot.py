"""``slc.plot``: what is drawn is what the run folder holds, on new axes or the user's."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import sae_lens_classif as slc
from sae_lens_classif.checksums import read_json
from sae_lens_classif.figures.style import save_figure
from tests.tiny_run import Tiny, make_tiny

ONE = ("activation_rates", "concept_map", "sentence_sim")
SEVERAL = ("ablation", "sufficiency", "tradeoffs", "word_clouds")


@pytest.fixture(autouse=True)
def no_figure_is_left_open() -> Iterator[None]:
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def folder(demo_folder: Path) -> Path:
    return demo_folder / "runs" / "demo"


@pytest.fixture(scope="module")
def run(folder: Path) -> slc.Run:
    return slc.open_run(folder)


@pytest.fixture(scope="module")
def swept(
    tmp_path_factory: pytest.TempPathFactory, classifier_folder: Path, train_data: slc.TextData, test_data: slc.TextData
) -> Path:
    tiny: Tiny = make_tiny(tmp_path_factory.mktemp("plot") / "tiny", classifier_folder, train_data, test_data)
    tiny.command("sweep", "swept", "--grid", "sae.gamma=0.05,0.2", "--grid", "train.seed=0,1")
    return tiny.run("swept")


def draw(name: str, run: Any, **more: Any) -> Any:
    """A plot by its name."""
    return getattr(slc.plot, name)(run, **more)


def figure_of(axes: Any) -> Figure:
    figure = (axes if isinstance(axes, Axes) else axes[0]).figure
    assert isinstance(figure, Figure)
    return figure


def result(folder: Path, evaluation: str, part: str = "eval_result_details", method: str = "classifsae") -> Any:
    content = read_json(folder / "evals" / method / f"{evaluation}.json")[part]
    return content[0] if isinstance(content, list) else content


def lines(axes: Axes) -> list[list[float | None]]:
    """The lines' points; a line without a point is none, and neither is one that spans the axes."""
    drawn = (
        np.asarray(line.get_ydata(), dtype=float) for line in axes.lines if tuple(np.ravel(line.get_xdata())) != (0, 1)
    )
    return [[None if np.isnan(value) else value for value in values.tolist()] for values in drawn if len(values)]


def names_of(axes: Any) -> list[str]:
    """What the legend names."""
    figure = figure_of(axes)
    legends = figure.legends or [legend for panel in figure.axes if (legend := panel.get_legend())]
    return [text.get_text() for text in legends[0].get_texts()]


def test_the_plots_are_these_and_completion_shows_no_more() -> None:
    assert dir(slc.plot) == sorted([*ONE, *SEVERAL, "sweep"])


@pytest.mark.parametrize("name", [*ONE, *SEVERAL])
def test_a_plot_shows_what_the_file_of_its_name_shows(name: str, run: slc.Run, folder: Path, tmp_path: Path) -> None:
    axes = draw(name, run)
    assert plt.get_fignums() == [figure_of(axes).number], "a notebook shows it"
    if name in ONE:
        assert isinstance(axes, Axes)
    else:
        assert isinstance(axes, np.ndarray) and axes.ndim == 1
        assert list(axes) == figure_of(axes).axes
    png, svg = save_figure(figure_of(axes), tmp_path / name)
    file = folder / "figures" / ("" if name == "tradeoffs" else "classifsae") / name
    assert png.read_bytes() == file.with_suffix(".png").read_bytes()
    assert svg.read_bytes() == file.with_suffix(".svg").read_bytes()


def test_a_folder_will_do_for_a_run(folder: Path) -> None:
    for given in (folder, str(folder)):
        assert len(slc.plot.activation_rates(given).patches) == 20


def test_bars_are_activation_rates(run: slc.Run, folder: Path) -> None:
    axes = slc.plot.activation_rates(run)
    rates = result(folder, "completeness")["activation_rate"]
    assert [bar.get_height() for bar in axes.patches] == pytest.approx(sorted(rates, reverse=True))  # type: ignore[attr-defined]  # bars
    assert "ClassifSAE" in axes.get_title() and "active" in axes.get_ylabel() and "Concepts" in axes.get_xlabel()
    assert [name for name in names_of(axes) if "10 %" in name]


def test_similarity_of_several_methods_is_a_line_each_with_its_name(run: slc.Run, folder: Path) -> None:
    axes = slc.plot.sentence_sim({"mine": run, "ICA": slc.open_run(folder, "ica")})
    expected = [
        result(folder, "interpretability", "eval_result_metrics", method)["sentence_sim"]
        for method in ("classifsae", "ica/seed-0")
    ]
    assert lines(axes) == expected
    assert names_of(axes) == ["mine", "ICA", "any two texts (mean)"]


def test_ablation_is_a_line_a_class_and_of_several_a_line_each(run: slc.Run, folder: Path) -> None:
    axes = slc.plot.ablation(run)
    assert names_of(axes) == list(run.states().class_names)
    rows = result(folder, "causality")["global"]
    first = {row["percent"]: row["tvd"] for row in rows if row["class"] == 0}
    assert lines(axes[0])[0] == [first.get(percent) for percent in (25, 50, 75, 100)]
    assert names_of(slc.plot.ablation({"a": run, "b": folder})) == ["a", "b"]


def test_sufficiency_stands_beside_chance_until_nothing_changes(run: slc.Run, folder: Path) -> None:
    kept, changed = slc.plot.sufficiency(run)
    details = result(folder, "sufficiency")
    own = lines(kept)[0]
    assert own == details["sufficiency_curve"][: len(own)] and set(details["sufficiency_curve"][len(own) :]) <= {
        own[-1]
    }
    assert len(own) < 20 and lines(kept)[1] == details["sufficiency_random_curve"][: len(own)]
    assert lines(kept)[2] == details["sufficiency_random_directions_curve"][: len(own)]
    assert lines(changed) == [details[f"{name}_curve"][: len(own)] for name in ("necessity", "necessity_random")]
    assert len(names_of([kept])) == 3


def test_the_map_has_a_pie_a_living_concept_and_a_name_a_class(run: slc.Run) -> None:
    axes = slc.plot.concept_map(run, max_texts=50)
    said = [text.get_text() for text in axes.texts]
    assert sorted(text for text in said if text.isdigit()) == sorted(map(str, run.concepts))
    assert set(run.states().class_names) <= set(said)
    assert sum(len(np.asarray(points.get_offsets())) for points in axes.collections) == 50


def test_clouds_are_one_a_concept(run: slc.Run) -> None:
    axes = slc.plot.word_clouds(run)
    alive = {f"Concept {concept.index} · {concept.class_name}" for concept in run.concepts.values()}
    titles = [panel.get_title() for panel in axes]
    assert alive <= set(titles) and len(titles) == 20
    heaviest = {text.get_text() for text in axes[next(iter(run.concepts))].texts}
    assert set(run.concepts[next(iter(run.concepts))].key_words[:3]) <= heaviest


def test_tradeoffs_are_a_named_mark_a_method(run: slc.Run) -> None:
    for panel in slc.plot.tradeoffs(run):
        assert {text.get_text() for text in panel.texts} == {method.title for method in run.comparison.methods}
        assert panel.get_xlabel()


def test_a_sweep_is_a_panel_a_measure(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for known in ("hooks.batching.states_of_inputs", "evals.base.run_interventions", "runs.sweep.sweep_step"):
        monkeypatch.setattr(f"sae_lens_classif.{known}", None)
    axes = slc.plot.sweep(swept)
    assert len(slc.open_run(swept).sweep) == 4
    rows = read_json(swept / "sweep" / "sweep.json")["rows"]
    (panel,) = [
        panel for panel in axes if "recovered" in panel.get_title() and "scaled" not in panel.get_title().lower()
    ]
    assert lines(panel)[0] == pytest.approx([row["recovery_accuracy"]["mean"] for row in rows])
    titles = [panel.get_title().replace("\n", " ") for panel in axes]
    assert "floor (its floor: with no concept at all)" in titles, "understood without its neighbours"
    assert not [title for title in titles if "ConceptSim" in title], "what was not measured has no panel"
    assert all(lines(panel) and None not in lines(panel)[0] for panel in axes)
    png, _ = save_figure(figure_of(axes), tmp_path / "sweep")
    assert png.read_bytes() == (swept / "sweep" / "sweep.png").read_bytes()


# --- axes of the user's


@pytest.mark.parametrize("name", ONE)
def test_on_the_user_s_axes_nothing_else_is_touched(name: str, run: slc.Run) -> None:
    with plt.style.context("dark_background"):
        figure, (left, right) = plt.subplots(1, 2, layout="constrained")
        engine, size = figure.get_layout_engine(), tuple(figure.get_size_inches())
        before = dict(plt.rcParams)
        assert draw(name, run, ax=right) is right
        assert dict(plt.rcParams) == before and plt.gca() is right
        assert plt.get_fignums() == [figure.number]
        assert figure.get_layout_engine() is engine and tuple(figure.get_size_inches()) == size
        assert not figure.legends and not figure.get_suptitle() and not figure.get_supxlabel()
        assert figure.axes == [left, right] and not left.has_data() and not left.get_title()
        assert right.get_title() and right.get_xlabel() and right.get_ylabel()
        legend = right.get_legend()
        if name != "concept_map":
            assert legend is not None and {text.get_color() for text in legend.get_texts()} == {"white"}


def test_pies_stay_at_their_places_when_the_figure_is_resized(run: slc.Run) -> None:
    figure, axes = plt.subplots(figsize=(9, 7))
    slc.plot.concept_map(run, ax=axes)
    numbers = [text for text in axes.texts if text.get_text().isdigit()]

    def places() -> Any:
        return axes.transData.inverted().transform([text.get_transform().transform((0, 0)) for text in numbers])

    before = places()
    figure.set_size_inches(4, 9)
    figure.canvas.draw()
    np.testing.assert_allclose(places(), before)


def test_axes_in_a_subfigure_will_do(run: slc.Run) -> None:
    figure = plt.figure(layout="constrained")
    part = figure.add_subfigure(figure.add_gridspec()[0])
    for name in ONE:
        assert draw(name, run, ax=part.subplots()).figure is part


# --- what is refused


@pytest.mark.parametrize(
    ("name", "evaluation"),
    [
        ("activation_rates", "completeness"),
        ("sentence_sim", "interpretability"),
        ("word_clouds", "interpretability"),
        ("ablation", "causality"),
        ("sufficiency", "sufficiency"),
    ],
)
def test_what_was_not_measured_names_the_step_that_measures_it(name: str, evaluation: str, demo_run: Path) -> None:
    (demo_run / "evals" / "classifsae" / f"{evaluation}.json").unlink()
    said = rf"holds no evaluation `{evaluation}` of classifsae.*evaluate --run .*demo --evaluate.evals \[{evaluation}\]"
    with pytest.raises(slc.UserError, match=said):
        draw(name, demo_run)
    (demo_run / "evals" / "ica" / "seed-0" / f"{evaluation}.json").unlink()
    with pytest.raises(slc.UserError, match=rf"`{evaluation}` of ica.* compare --run"):
        draw(name, slc.open_run(demo_run, "ica"))
    assert plt.get_fignums() == [], "no empty figure is left"


def test_a_run_that_is_not_evaluated_names_the_step(demo_run: Path) -> None:
    (demo_run / "summary.json").unlink()
    (demo_run / "comparison.json").unlink()
    for name in ("activation_rates", "sentence_sim", "ablation", "sufficiency", "word_clouds"):
        with pytest.raises(slc.UserError, match="run the step `evaluate` first"):
            draw(name, demo_run)
    with pytest.raises(slc.UserError, match="compare --run"):
        slc.plot.tradeoffs(demo_run)
    with pytest.raises(slc.UserError, match=r"no sweep/sweep\.json.*sweep --run .*--grid"):
        slc.plot.sweep(demo_run)
    assert len(slc.plot.concept_map(demo_run).texts) > 10, "this needs no evaluation"
    shutil.rmtree(demo_run / "saes")
    with pytest.raises(slc.UserError, match="run the step `train` first"):
        slc.plot.concept_map(demo_run)


@pytest.mark.parametrize(
    ("plot", "message"),
    [
        (lambda run: slc.plot.sentence_sim(run, ax=plt), "ax is module; give one matplotlib Axes"),  # type: ignore[arg-type]
        (lambda run: slc.plot.sentence_sim(run, ax=np.array([1])), "ax is ndarray"),  # type: ignore[arg-type]
        (lambda run: slc.plot.sentence_sim(None), "run is NoneType; give slc.open_run"),  # type: ignore[arg-type]
        (lambda run: slc.plot.sentence_sim({}), "no run is given"),
        (lambda run: slc.plot.ablation({}), "no run is given"),
        (lambda run: slc.plot.activation_rates({"a": run}), "run is dict"),  # type: ignore[arg-type]
        (lambda run: slc.plot.tradeoffs("nowhere"), "nowhere is no run folder"),
    ],
)
def test_what_is_no_run_and_what_are_no_axes_are_refused(
    plot: Callable[[slc.Run], object], message: str, run: slc.Run
) -> None:
    with pytest.raises(slc.UserError, match=message):
        plot(run)
    assert plt.get_fignums() == []
