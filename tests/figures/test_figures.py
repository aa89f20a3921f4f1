"""Figures: the same bytes every time, whatever the names, words and numbers are."""

import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib import _pylab_helpers
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Wedge
from matplotlib.text import Text

from sae_lens_classif.evals.measures import find_measure
from sae_lens_classif.figures import style
from sae_lens_classif.figures.concept_map import concept_map, fit_plane
from sae_lens_classif.figures.curves import (
    Curve,
    ablation_curves,
    ablation_of_each_class,
    ablation_over_classes,
    activation_rates,
    sentence_sim_curves,
)
from sae_lens_classif.figures.pies import free_box, spread
from sae_lens_classif.figures.style import (
    PALETTE,
    class_colour,
    contrast,
    darken,
    legend_below,
    lighten,
    save_figure,
    series_style,
    svg_of,
)
from sae_lens_classif.figures.sweep import sweep_figure
from sae_lens_classif.figures.word_clouds import ConceptWords, word_clouds

# Right to left, an emoji of several characters, Chinese, mathematics, markup, control characters, half a character.
ODD_NAMES = (
    "كرة القدم", "שלום עולם", "👨‍👩‍👧 fun 😀", "新闻", "$x_1$ and $\\frac{", "_under_score_",
    "<script>alert(1)</script>", "a\nb\tc\x00d", "half \ud800", "x" * 300, "", "-->", "हिन्दी",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_figure_is_left_open() -> Iterator[None]:
    yield
    assert _pylab_helpers.Gcf.get_all_fig_managers() == []


def _map(n_concepts: int = 6, n_classes: int = 3, n_texts: int = 60, d: int = 8, link: str | None = None) -> Figure:
    random = np.random.default_rng(0)
    return concept_map(
        random.normal(size=(n_texts, d)).astype(np.float32),
        np.arange(n_texts) % n_classes,
        [f"class {number}" for number in range(n_classes)],
        random.normal(size=(n_concepts, d)).astype(np.float32),
        random.normal(size=(n_concepts, n_classes)),
        random.gamma(1, size=n_concepts),
        np.arange(n_concepts) != 1,
        max_texts=50,
        link=link,
    )


def _clouds(n_concepts: int = 3) -> Figure:
    words = {"team": 3.0, "season": 2.0, "game": 1.0}
    return word_clouds([ConceptWords(number, f"class {number % 77}", words) for number in range(n_concepts)])


_CURVES = {"ClassifSAE": Curve([0.1, 0.2, None, 0.3], [0.05, 0.1, None, 0.2], [0.15, 0.3, None, 0.4])}
_FIGURES: dict[str, Callable[[], Figure]] = {
    "map": _map,
    "clouds": _clouds,
    "similarity": lambda: sentence_sim_curves(_CURVES, 0.05),
    "rates": lambda: activation_rates({"ClassifSAE": [0.3, 0.1], "ICA": [0.5, 0.4]}),
    "ablation": lambda: ablation_curves(_CURVES, _CURVES),
    "sweep": lambda: sweep_figure("gamma", ["0.1", "1", "0.01", "10"], {find_measure("recovery_accuracy"): _CURVES}),
}


def _bytes(figure: Figure, folder: Path) -> tuple[bytes, bytes]:
    png, svg = save_figure(figure, folder / "figure")
    return png.read_bytes(), svg.read_bytes()


def _text_artists(figure: Figure) -> list[Text]:
    return [artist for artist in figure.findobj(Text) if isinstance(artist, Text) and artist.get_text()]


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in _text_artists(figure)]


def _panels(figure: Figure) -> list[Axes]:
    return list(figure.axes)


def _assert_says_why_empty(panel: Axes) -> None:
    """Instead of axes there is a line of text."""
    (said,) = panel.texts
    assert said.get_text() and not panel.axison


@pytest.mark.parametrize("name", _FIGURES)
def test_a_figure_made_and_saved_again_has_the_same_bytes(name: str, tmp_path: Path) -> None:
    figure = _FIGURES[name]()
    first = _bytes(figure, tmp_path / "first")
    assert _bytes(figure, tmp_path / "again") == first
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 20, "svg.hashsalt": "mine"}):
        assert _bytes(_FIGURES[name](), tmp_path / "with other settings") == first
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == ["figure.png", "figure.svg"]


def test_a_name_with_a_dot_keeps_all_of_it(tmp_path: Path) -> None:
    png, svg = save_figure(_clouds(1), tmp_path / "gamma=0.1")
    assert (png.name, svg.name) == ("gamma=0.1.png", "gamma=0.1.svg")


def test_a_figure_that_fails_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    class Broken(Figure):
        def savefig(self, fname: object, **_: object) -> None:
            Path(str(fname)).write_text("half")
            raise RuntimeError("broken")

    (tmp_path / "figure.png").write_text("old")
    with pytest.raises(RuntimeError, match="broken"):
        save_figure(Broken(), tmp_path / "figure")
    assert (tmp_path / "figure.png").read_text() == "old"


def test_figures_need_no_pyplot_and_importing_their_package_no_matplotlib() -> None:
    script = """
import sys
import sae_lens_classif.figures
assert "matplotlib" not in sys.modules
from sae_lens_classif.figures import concept_map, curves, sweep, word_clouds
word_clouds.word_clouds([word_clouds.ConceptWords(0, "a", {"b": 1.0})])
curves.sentence_sim_curves({"a": curves.Curve([1.0])})
assert not {"matplotlib.pyplot", "torch"} & set(sys.modules), "heavy"
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_colours_are_those_of_okabe_and_ito_and_stand_out_on_white() -> None:
    published = "E69F00 56B4E9 009E73 F0E442 0072B2 D55E00 CC79A7 000000"
    assert sorted(PALETTE) == sorted(f"#{colour}" for colour in published.split())
    assert contrast("#000000") == pytest.approx(21)
    assert contrast("#777777") == pytest.approx(4.48, abs=0.005)  # the known grey just below 4.5
    assert all(contrast(colour) >= 3 for colour in PALETTE[:4])
    assert all(contrast(series_style(number).colour) >= 3 for number in range(8))
    assert all(contrast(darken(class_colour(number, 77))) >= 4.5 for number in range(77))
    assert darken("#000000") == "#000000"
    assert all(contrast(lighten(class_colour(number, 77), "#24282f"), "#24282f") >= 4.5 for number in range(77))
    assert lighten("#ffffff", "#24282f") == "#ffffff"


def test_series_differ_without_their_colours() -> None:
    styles = [series_style(number) for number in range(40)]
    assert len({(style.marker, style.line) for style in styles}) == 40
    assert len({style.hatch for style in styles[:8]}) == 8


def test_77_classes_have_77_colours_and_neighbours_differ() -> None:
    colours = [class_colour(number, 77) for number in range(77)]
    assert len(set(colours)) == 77
    steps = np.abs(np.diff([to_rgb(colour) for colour in colours], axis=0)).sum(axis=1)
    assert steps.min() > 0.4
    assert [class_colour(number, 8) for number in range(8)] == list(PALETTE)


def test_a_text_becomes_one_line_that_the_fonts_can_draw() -> None:
    assert style.printable("a\nb\tc\x00d  e") == "a b c d e"
    assert style.printable("日$_<é") in ("□$_<é", "日$_<é")
    assert style.printable("half \ud800") == "half □"
    assert style.printable("abcdef", 4) == "abc…"
    assert style.printable("abcd", 4) == "abcd"


def test_boxes_come_with_one_advice_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    style._advise_fonts.cache_clear()
    style.printable("\ue000\ue001")
    style.printable("\ue002")
    (record,) = caplog.records
    assert all(named in record.message for named in ("Noto", "fontlist-*.json", "matplotlib.get_cachedir()"))


def test_another_installed_font_is_used_for_characters_that_the_first_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # STIX comes with matplotlib and has what DejaVu Sans lacks: here in the place of a Chinese font.
    monkeypatch.setattr(style, "FONTS", ("DejaVu Sans", "no such font", "STIXGeneral"))
    style.characters_of_fonts.cache_clear()
    try:
        has = style.characters_of_fonts()
        word = "".join(map(chr, sorted(has["STIXGeneral"] - has["DejaVu Sans"])[:3]))
        assert style.font_families() == ("DejaVu Sans", "STIXGeneral")
        assert style.printable(word) == word
        assert style.font_for([word]) == "STIXGeneral"
        _bytes(word_clouds([ConceptWords(0, word, {word: 1.0, "word": 1.0})]), tmp_path)
    finally:
        style.characters_of_fonts.cache_clear()


def test_odd_names_and_words_are_drawn_as_they_are_in_every_figure(tmp_path: Path) -> None:
    n = len(ODD_NAMES)
    random = np.random.default_rng(0)
    curves = dict.fromkeys(ODD_NAMES, Curve([0.1, 0.2], [0.0, 0.1], [0.2, 0.3]))
    hidden = random.normal(size=(3 * n, 5)).astype(np.float32)
    shares, sizes = np.eye(n), np.ones(n)
    figures = [
        word_clouds([ConceptWords(0, name, dict.fromkeys(ODD_NAMES, 1.0)) for name in ODD_NAMES], ODD_NAMES),
        concept_map(hidden, np.arange(3 * n) % n, ODD_NAMES, hidden[:n], shares, sizes, sizes > 0),
        sentence_sim_curves(curves),
        activation_rates(dict.fromkeys(ODD_NAMES, (0.1, 0.2))),
        ablation_curves(curves, curves, (50, 100)),
        sweep_figure(ODD_NAMES[0], ODD_NAMES[1:3], dict.fromkeys(map(find_measure, ODD_NAMES), curves)),
        sweep_figure(ODD_NAMES[4], ODD_NAMES[4:6], {}),
    ]
    for number, figure in enumerate(figures):
        _, svg = _bytes(figure, tmp_path / str(number))
        ElementTree.fromstring(svg)
        assert b"<script" not in svg
        assert not any(text.get_parse_math() for text in _text_artists(figure))
    assert "$x_1$ and $\\frac{" in _texts(figures[0])
    assert any("_under_score_" in text for text in _texts(figures[2]))


@pytest.mark.parametrize("n_concepts", [0, 1, 200])
def test_word_clouds_hold_one_cell_a_concept(n_concepts: int, tmp_path: Path) -> None:
    figure = _clouds(n_concepts)
    _bytes(figure, tmp_path)
    titles = [panel.get_title() for panel in _panels(figure)]
    expected = [f"Concept {number} · class {number % 77}" for number in range(n_concepts)]
    assert titles == (expected or [""])


def test_a_concept_without_words_has_a_cell_that_says_so(tmp_path: Path) -> None:
    nothing = {"nan": math.nan, "zero": 0.0, "less": -1.0, " ": 1.0, "infinite": math.inf}
    figure = word_clouds([ConceptWords(4, None, {}), ConceptWords(5, "Sports", nothing)])
    _bytes(figure, tmp_path)
    assert [panel.get_title() for panel in _panels(figure)] == ["Concept 4 · never active", "Concept 5 · Sports"]
    assert _texts(figure).count("no words") == 2


def test_heavier_words_are_larger_and_words_have_the_colour_of_their_class() -> None:
    words = {"light": 1.0, "heavy": 5.0, "middle": 2.5}
    figure = word_clouds([ConceptWords(0, "b", words)], ["a", "b"])
    drawn = {text.get_text(): text for text in _panels(figure)[0].texts}
    sizes = {word: float(text.get_fontsize()) for word, text in drawn.items()}
    assert sizes["heavy"] > sizes["middle"] > sizes["light"]
    assert {text.get_color() for text in drawn.values()} == {darken(PALETTE[1])}


def test_words_of_a_cloud_do_not_cover_each_other() -> None:
    words = {f"{'gypsophila'[: 3 + number % 8]}{number}": 1 / (1 + number) for number in range(25)}
    figure = word_clouds([ConceptWords(0, "a", words)])
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in _panels(figure)[0].texts]
    # A text's extent holds the room below its baseline too, which another word may use.
    cores = [(box.x0 + 1, box.y0 + 0.25 * box.height, box.x1 - 1, box.y1 - 0.25 * box.height) for box in boxes]
    for number, (left, bottom, right, top) in enumerate(cores):
        for other in cores[:number]:
            assert left >= other[2] or right <= other[0] or bottom >= other[3] or top <= other[1]


@pytest.mark.parametrize(("n_concepts", "n_classes"), [(1, 2), (5, 2), (20, 77), (200, 3)])
def test_a_map_holds_few_or_many_concepts_and_classes(n_concepts: int, n_classes: int, tmp_path: Path) -> None:
    figure = _map(n_concepts, n_classes, n_texts=400)
    _bytes(figure, tmp_path)
    texts = _texts(figure)
    assert all(str(number) in texts for number in range(n_concepts) if number != 1)
    assert n_classes < 77 or any(re.search(r"\b57\b", text) for text in texts[-30:]), "so many have no name"
    assert texts.count("class 0") == 2  # on the map and in the legend


def test_in_a_page_each_pie_is_a_link_of_its_own_page(tmp_path: Path) -> None:
    svg = svg_of(_map(link="#concept-{}"), "map")
    assert svg.startswith("<svg") and svg == svg_of(_map(link="#concept-{}"), "map")
    own, other = (set(re.findall(r' id="([^"]+)"', svg_of(_map(link="#concept-{}"), name))) for name in ("map", "more"))
    assert own and not own & other, "two figures of a page have no id in common"
    assert {name for name in re.findall(r'(?:"#|url\(#)([^")]+)', svg) if "concept-" not in name} <= own
    links = re.findall(r"<a ([^>]+)>", svg)
    assert [link.split()[0] for link in sorted(links)] == [
        f'xlink:href="#concept-{number}"' for number in (0, 2, 3, 4, 5)
    ]
    assert "_blank" not in svg and svg.count(' role="link">') == svg.count("<a ") > 0
    assert "<a " not in save_figure(_map(), tmp_path / "map")[1].read_text(encoding="utf-8")


def test_a_map_says_what_is_not_drawn() -> None:
    assert any(re.search(r"\b1 of 6\b", text) for text in _texts(_map(6)))
    random = np.random.default_rng(0)
    hidden = random.normal(size=(5001, 3)).astype(np.float32)
    figure = concept_map(
        hidden, np.zeros(5001, np.int64), ["a", "b"], None, np.ones((2, 2)), np.ones(2), np.ones(2) > 0
    )
    assert any("5,000 of 5,001" in text and "direction" in text for text in _texts(figure))
    assert sum(len(np.asarray(points.get_offsets())) for points in _panels(figure)[0].collections) == 5000


def test_the_area_of_a_pie_is_its_mean_activation_and_its_slices_are_the_positive_shares() -> None:
    hidden = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    shares = np.array([[0.25, 0.75, -0.5], [0.0, 0.0, 0.0]])
    figure = concept_map(
        hidden, np.arange(50) % 3, "abc", np.eye(4, dtype=np.float32)[:2], shares, np.array([4.0, 1.0]), np.ones(2) > 0
    )
    wedges = [patch for patch in _panels(figure)[0].patches if isinstance(patch, Wedge)]
    slices = {wedge.get_facecolor(): wedge.theta2 - wedge.theta1 for wedge in wedges[1:3]}
    assert slices == {(*to_rgb(PALETTE[0]), 1): pytest.approx(90), (*to_rgb(PALETTE[1]), 1): pytest.approx(270)}
    rims = [wedge.r for wedge in wedges if not wedge.get_fill()]
    assert (rims[0] / rims[1]) ** 2 == pytest.approx(4)


def test_concepts_far_outside_the_texts_stand_at_the_edge_with_an_arrow() -> None:
    random = np.random.default_rng(0)
    hidden = (np.full(6, 10) + 0.1 * random.normal(size=(100, 6))).astype(np.float32)
    far = np.stack([hidden[0] * 3, *np.eye(6, dtype=np.float32)[:2]])
    figure = concept_map(hidden, np.arange(100) % 2, "ab", far, np.ones((3, 2)), np.ones(3), np.ones(3) > 0)
    (panel,) = _panels(figure)
    points = np.concatenate([np.asarray(points.get_offsets()) for points in panel.collections])
    assert np.diff(panel.get_xlim())[0] < 2 * np.ptp(points[:, 0])
    assert np.diff(panel.get_ylim())[0] < 2 * np.ptp(points[:, 1])
    assert sum(text.get_text() == "" for text in panel.texts) == 2  # an arrow is an annotation without a text
    assert any("arrow" in text for text in _texts(figure))


def test_a_map_of_broken_numbers_is_drawn(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    hidden = random.normal(size=(30, 4)).astype(np.float32)
    hidden[0], hidden[1, 2], hidden[2] = np.nan, np.inf, 0
    hidden[3] *= 1e30
    directions = random.normal(size=(5, 4)).astype(np.float32)
    directions[0], directions[1] = np.nan, 0
    shares, sizes = np.full((5, 3), np.nan), np.array([1, 1, np.nan, np.inf, -1])
    labels = np.arange(30) % 2  # the third class has no texts
    _bytes(concept_map(hidden, labels, "abc", directions, shares, sizes, np.ones(5) > 0), tmp_path)


@pytest.mark.parametrize(
    "hidden", [np.zeros((0, 4)), np.ones((1, 4)), np.ones((9, 4)), np.full((9, 4), np.nan), np.arange(1, 10)[:, None]]
)
def test_a_map_of_states_that_do_not_differ_says_so(hidden: np.ndarray, tmp_path: Path) -> None:
    n, d = hidden.shape
    directions = np.ones((2, d), np.float32)
    figure = concept_map(
        hidden.astype(np.float32), np.zeros(n, np.int64), ["a"], directions, np.ones((2, 1)), np.ones(2), np.ones(2) > 0
    )
    _bytes(figure, tmp_path)
    _assert_says_why_empty(_panels(figure)[0])


def test_the_plane_is_that_of_the_principal_components_of_standardised_unit_vectors() -> None:
    random = np.random.default_rng(0)
    hidden = random.normal(size=(40, 5)) * [5, 1, 1, 1, 1]
    unit = hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
    standardised = (unit - unit.mean(axis=0)) / unit.std(axis=0)
    _, singular, components = np.linalg.svd(standardised, full_matrices=False)
    plane = fit_plane(hidden)
    assert plane is not None
    assert plane.explained == pytest.approx(singular[:2] ** 2 / (singular**2).sum())
    expected = np.abs(standardised @ components[:2].T)  # the signs are free
    np.testing.assert_allclose(np.abs(plane.project(3 * hidden)), expected, atol=1e-9)
    assert np.isnan(plane.project(np.zeros((1, 5)))).all()


def test_states_of_two_texts_or_two_dimensions_have_a_plane() -> None:
    for hidden in (np.eye(2), np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])):
        plane = fit_plane(hidden)
        assert plane is not None
        assert plane.explained == pytest.approx((1, 0))


def test_discs_in_one_place_are_pushed_apart_within_the_panel_and_off_what_is_fixed() -> None:
    low, high = np.zeros(2), np.full(2, 100.0)
    home = np.array([[50.0, 50], [50, 50], [50, 50], [2, 98]])
    radii = np.array([10.0, 8, 6, 5])
    fixed = np.array([[50.0, 50]])
    found = spread(home, radii, fixed, np.array([7.0]), low, high)
    everything, all_radii = np.concatenate([found, fixed]), np.append(radii, 7.0)
    for number in range(4):
        others = np.delete(np.arange(5), number)
        gaps = np.linalg.norm(everything[others] - found[number], axis=1) - all_radii[others] - radii[number]
        assert gaps.min() > -0.2
        assert (found[number] >= radii[number] - 1e-9).all() and (found[number] <= 100 - radii[number] + 1e-9).all()
    assert (spread(home[:0], radii[:0], fixed, radii[:1], low, high)).shape == (0, 2)


def test_a_name_stands_where_it_covers_nothing() -> None:
    low, high = np.zeros(2), np.full(2, 100.0)
    taken = np.array([[0.0, 55, 100, 100]])  # all above the mark
    box = free_box(np.array([50.0, 50]), np.array([20.0, 8]), 5, taken, low, high)
    assert box.tolist() == [40, 37, 60, 45]
    assert free_box(np.array([50.0, 50]), np.array([20.0, 8]), 5, taken[:0], low, high).tolist() == [40, 55, 60, 63]


def test_missing_points_interrupt_a_line_and_its_interval(tmp_path: Path) -> None:
    curve = Curve([0.1, None, math.nan, 0.2], [0.0, None, 0.1, math.inf], [0.2, None, 0.1, 0.3])
    figure = sentence_sim_curves({"a": curve, "short": Curve([0.3]), "none": Curve([None] * 4)})
    _bytes(figure, tmp_path)
    (panel,) = _panels(figure)
    np.testing.assert_array_equal(panel.lines[0].get_ydata(), [0.1, np.nan, np.nan, 0.2])
    assert panel.lines[1].get_ydata() == [0.3]


def test_a_curve_whose_intervals_do_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2 \D*1 \D*1 "):
        Curve([0.1, 0.2], [0.1], [0.2])
    with pytest.raises(ValueError, match=r"1 \D*1 \D*0 "):
        Curve([0.1], [0.1])


def test_bands_are_explained_only_where_there_are_some() -> None:
    def is_explained(curves: dict[str, Curve]) -> bool:
        return any("over seeds" in text for text in _texts(sentence_sim_curves(curves, None, "over seeds")))

    assert is_explained(_CURVES) and not is_explained({"a": Curve([0.1])})


def test_rates_are_sorted_and_lines_show_their_mean_and_gamma(tmp_path: Path) -> None:
    figure = activation_rates({"a": [0.1, math.nan, 0.3, None, 0.2], "none": []}, gamma=0.25)
    _bytes(figure, tmp_path)
    bars, lines = _panels(figure)[0].patches, _panels(figure)[0].lines
    assert [bar.get_height() for bar in bars] == [0.3, 0.2, 0.1]  # type: ignore[attr-defined]  # they are rectangles
    assert [np.asarray(line.get_ydata())[0] for line in lines] == pytest.approx([0.2, 0.25])
    known, none = (panel.get_title() for panel in _panels(figure))
    assert re.fullmatch(r"a\n\D*20\.0 %\D*30\.0 %", known) and re.fullmatch(r"none\n\D+", none)


@pytest.mark.parametrize("n_concepts", [1, 200])
def test_rates_of_few_or_many_concepts_and_methods_are_drawn(n_concepts: int, tmp_path: Path) -> None:
    rates = {f"method {number}": np.linspace(0, 1, n_concepts).tolist() for number in range(7)}
    _bytes(activation_rates(rates), tmp_path)


def test_figures_without_series_say_so(tmp_path: Path) -> None:
    for figure in (sentence_sim_curves({}), activation_rates({}), ablation_curves({}, {})):
        _bytes(figure, tmp_path)
        _assert_says_why_empty(_panels(figure)[0])
    for figure in (sweep_figure("a", ["1"], {}), sweep_figure("a", [], {find_measure("l0"): {"b": Curve([])}})):
        _bytes(figure, tmp_path)
        _assert_says_why_empty(_panels(figure)[0])


def test_rows_of_the_causality_evaluation_become_curves() -> None:
    rows: list[dict[str, float | None]] = [
        {"percent": 50, "class": 0, "tvd": 0.25},
        {"percent": 100, "class": 0, "tvd": 0.5},
        {"percent": 100, "class": 1, "tvd": 0.25},
        {"percent": 75, "class": 0, "tvd": None},
    ]
    percents = (25, 50, 75, 100)
    assert ablation_over_classes(rows, "tvd", percents) == Curve([None, 0.25, None, 0.375])
    assert ablation_of_each_class(rows, "tvd", ["a", "b", "c"], percents) == {
        "a": Curve([None, 0.25, None, 0.5]),
        "b": Curve([None, None, None, 0.25]),
    }


def test_77_classes_are_drawn_and_20_of_them_named(tmp_path: Path) -> None:
    curves = {f"class {number}": Curve([number / 100, 0.8]) for number in range(77)}
    figure = ablation_curves(curves, curves, (50, 100))
    _bytes(figure, tmp_path)
    texts = _texts(figure)
    assert "class 19" in texts and "class 20" not in texts and any(re.search(r"\b57\b", text) for text in texts)


@pytest.mark.parametrize(
    ("values", "scale", "places", "labels"),
    [
        (["0.01", "1", "0.1"], "log", [0.01, 0.1, 1], ["0.01", "0.1", "1"]),
        (["1", "30"], "linear", [1, 30], ["1", "30"]),
        (["20", "5", "10"], "linear", [5, 10, 20], ["5", "10", "20"]),
        (["1", "0", "0.001"], "linear", [0, 1, 2], ["0", "0.001", "1"]),
        (["paper", "10", "1000"], "linear", [0, 1, 2], ["paper", "10", "1000"]),
        (["nan", "1"], "linear", [0, 1], ["nan", "1"]),
        (["7"], "linear", [7], ["7"]),
    ],
)
def test_values_of_a_setting_stand_in_order(
    values: list[str], scale: str, places: list[float], labels: list[str], tmp_path: Path
) -> None:
    curve = Curve([float(place) for place in range(len(values))])
    figure = sweep_figure("setting", values, {find_measure("l0"): {"": curve}})
    _bytes(figure, tmp_path)
    (panel,) = _panels(figure)
    assert panel.get_xscale() == scale
    assert panel.get_xticks().tolist() == pytest.approx(places)
    assert [label.get_text() for label in panel.get_xticklabels()] == labels
    assert np.asarray(panel.lines[0].get_ydata()).tolist() == [float(values.index(label)) for label in labels]


def test_measures_have_plain_titles_and_unknown_ones_their_names() -> None:
    figure = sweep_figure(
        "n_concepts", ["5", "10"], {find_measure(name): {"a": Curve([0.5, 1.0])} for name in ("coverage", "mine_$")}
    )
    known, unknown = (panel.get_title() for panel in _panels(figure))
    assert known != "coverage" and "coverage" in known and unknown == "mine_$"
    figure.draw_without_rendering()
    ticks = [label.get_text() for label in _panels(figure)[0].get_yticklabels()]
    assert "50 %" in ticks and "100 %" in ticks


def test_a_legend_makes_the_figure_taller() -> None:
    figure = Figure(figsize=(4, 3), layout="constrained")
    lines = figure.subplots().plot(np.zeros((2, 10)))
    legend_below(figure, lines, ["a rather long name of a method"] * 10)
    assert figure.get_figheight() == pytest.approx(3 + 10 * 0.19)
