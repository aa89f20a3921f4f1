"""``sweep``: one training and evaluation for every cell of a grid of settings."""

import itertools
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from sae_lens_classif.checksums import sha256_of_json, write_json
from sae_lens_classif.config.run import RunConfig
from sae_lens_classif.config.yaml import check_settings, config_of
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.base import activations_of
from sae_lens_classif.evals.coming_back import back_in_every_other
from sae_lens_classif.evals.comparison import Estimate, SeedResult, estimate
from sae_lens_classif.evals.matching import ConceptSet
from sae_lens_classif.evals.measures import Measure, compared_measures, label_free_columns
from sae_lens_classif.figures.curves import Curve
from sae_lens_classif.figures.style import Figure, NewFigure, save_figure
from sae_lens_classif.figures.sweep import sweep_figure
from sae_lens_classif.files import write_text
from sae_lens_classif.runs.folder import METHOD, RunFolder, to_plain
from sae_lens_classif.runs.pace import Pace
from sae_lens_classif.runs.results import Sweep, influence_of, read_measures, read_summary
from sae_lens_classif.runs.run_method import load_trained
from sae_lens_classif.runs.steps import cache_step, evaluate_step, finetune_step, train_step
from sae_lens_classif.store.store import ActivationStore
from sae_lens_classif.wording import markdown_row

logger = logging.getLogger(__name__)
SEED = "train.seed"
COMES_BACK = Measure(
    "comes_back", "Influence that comes back", "Share of the influence whose concepts come back with every other seed.",
    "share", column="back", is_essential=True,
)  # fmt: skip
_LONGEST_NAME = 100  # bytes

Cell = dict[str, Any]
Row = dict[str, Any]


def sweep_step(run: RunFolder) -> list[Row]:
    """Train and evaluate a ClassifSAE for every cell of ``cfg.sweep.grid``; cells that are done are reused.

    Makes ``sweep/<cell>/``, each a run folder, and of all of them ``sweep/sweep.{json,md,png,svg}``. Cells share the
    run's classifier and hidden states where their settings allow it.

    Returns:
        One row a cell, those of several seeds together: ``cell``, ``seeds`` and the measures.

    Raises:
        UserError: If the grid is empty, a setting does not exist, or a value is not valid; before any is trained.
    """
    grid = run.cfg.sweep.grid
    cells = list(_cells(grid))
    runs = [
        RunFolder(run.folder / "sweep" / _name(cell), cell_config(run.cfg, cell), run.overwrite, run) for cell in cells
    ]
    for cell_run in runs:
        cell_run.claim()
    _prepare(runs)
    run.note()
    missing = [not cell_run.summary.is_file() for cell_run in runs]
    pace = Pace(sum(missing), "cells", missing.count(False))
    for number, (cell, cell_run) in enumerate(zip(cells, runs, strict=True), start=1):
        logger.info("cell %d of %d: %s", number, len(cells), _words(cell))
        with pace.piece(missing[number - 1]):
            for step in (train_step, evaluate_step):
                step(cell_run)
                cell_run.note()
    rows = _rows(cells, runs)
    content = {"grid": grid, "rows": rows}
    Sweep.model_validate(content)
    write_json(run.sweep, content)
    write_text(run.sweep.with_suffix(".md"), to_markdown(rows))
    save_figure(figure_of(rows), run.sweep.with_suffix(""))
    return rows


def _prepare(runs: Sequence[RunFolder]) -> None:
    """Make what the trainings need, so that a value that fits neither model nor texts is found before the first."""
    prepared = set()
    for run in runs:
        if run.activations("train") not in prepared:
            finetune_step(run)
            cache_step(run)
            prepared.add(run.activations("train"))
        run.note()
        train = run.cfg.train
        ActivationStore(run.activations("train")).training_rows(train.validation_share, train.seed, train.data_share)


def _cells(grid: Mapping[str, Sequence[Any]]) -> Iterator[Cell]:
    if not grid:
        raise UserError(
            "the grid is empty; give settings and values, as --grid sae.gamma=0.05,0.1 --grid train.seed=0,1"
        )
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def cell_config(cfg: RunConfig, cell: Cell) -> RunConfig:
    """The settings of a cell.

    Args:
        cfg: The settings of the run.
        cell: Values of the settings that are swept, by their full names.

    Raises:
        UserError: If a setting does not exist, or a value is not valid.
    """
    settings = to_plain(cfg)
    for name, value in cell.items():
        section, _, setting = name.partition(".")
        check_settings({section: {setting: value}} if setting else {name: {}}, f"the grid of the sweep ({name})")
        if not setting or section in ("sweep", "compare", "baselines"):
            raise UserError(f"the grid holds {name!r}, which a sweep cannot vary; name one setting, such as sae.gamma")
        settings[section][setting] = value
    settings["sweep"] = {}
    return config_of((f"the cell {_words(cell)}", settings))


def _words(cell: Cell) -> str:
    return ", ".join(f"{name}={value}" for name, value in cell.items())


def _name(cell: Cell) -> str:
    """A folder's name that says what is in it."""
    words = ",".join(f"{name}={value}" for name, value in cell.items())
    name = re.sub(r"[^\w.=,-]+", "_", words)
    if name == words and len(name.encode()) <= _LONGEST_NAME:
        return name
    short = name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    return f"{short}-{sha256_of_json(cell)[:12]}"


def _rows(cells: Sequence[Cell], runs: Sequence[RunFolder]) -> list[Row]:
    """Measures of each cell; seeds are taken together."""
    groups: dict[str, list[tuple[Cell, RunFolder]]] = {}
    for cell, run in zip(cells, runs, strict=True):
        groups.setdefault(_words({name: value for name, value in cell.items() if name != SEED}), []).append((cell, run))
    return [_row(group) for group in groups.values()]


def _row(group: Sequence[tuple[Cell, RunFolder]]) -> Row:
    results, settings = [], []
    for _, run in group:
        settings.append(read_summary(run)["methods"][METHOD]["settings_sha256"])
        results.append(SeedResult.of(run.cfg.train.seed, read_measures(run.evaluations(METHOD), settings[-1])))
    return {
        "cell": {name: value for name, value in group[0][0].items() if name != SEED},
        "seeds": [result.seed for result in results],
        "folders": [run.folder.name for _, run in group],
        "settings_sha256": settings,
        **{measure.name: asdict(estimate(results, measure.name)) for measure in compared_measures(has_interval=True)},
        COMES_BACK.name: asdict(_comes_back([run for _, run in group])),
    }


def _comes_back(runs: Sequence[RunFolder]) -> Estimate:
    """Of each seed's concepts, the share by influence that come back with every other seed, and the mean."""
    if len(runs) == 1:
        return Estimate(None, None, (None,))
    hidden = ActivationStore(runs[0].activations("test")).read("hidden").float()
    sets, influences = [], []
    for run in runs:
        method, _ = load_trained(run)
        sets.append(ConceptSet.of(activations_of(method, hidden), method.directions()))
        influences.append(influence_of(read_summary(run)["methods"][METHOD], sets[-1].member.shape[1]))
    values = back_in_every_other(sets, influences)
    known = [value for value in values if value is not None]
    return Estimate(fmean(known) if len(known) == len(values) else None, None, values)


def shown_measures() -> tuple[Measure, ...]:
    """The measures in a sweep's table and figure."""
    return (*label_free_columns(), COMES_BACK)


def to_markdown(rows: Sequence[Row]) -> str:
    """One line a row: the swept settings, then the measures with their intervals."""
    names, measures = list(rows[0]["cell"]), [measure.name for measure in shown_measures()]
    head = [*names, "seeds", *measures]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        values = [str(row["cell"][name]) for name in names]
        lines.append([*values, ", ".join(map(str, row["seeds"])), *(_shown(row[measure]) for measure in measures)])
    return "\n".join(map(markdown_row, lines)) + "\n"


def _shown(measure: Mapping[str, Any]) -> str:
    if measure["mean"] is None:
        return "–"
    interval = f" ({measure['ci95'][0]:.3f} … {measure['ci95'][1]:.3f})" if measure["ci95"] else ""
    return f"{measure['mean']:.3f}{interval}"


def varied(rows: Sequence[Row]) -> list[str]:
    """Settings of which a sweep has several values."""
    return [name for name in rows[0]["cell"] if len({str(row["cell"][name]) for row in rows}) > 1]


def figure_of(rows: Sequence[Row], new: NewFigure = Figure) -> Figure:
    """The measures over the first setting with several values, a line for each combination of the others.

    Args:
        rows: What ``sweep_step`` gives.
        new: Makes the figure.
    """
    names = varied(rows) or list(rows[0]["cell"])
    parameter = names[0] if names else SEED
    values = list(dict.fromkeys(str(row["cell"].get(parameter, "all")) for row in rows))
    metrics: dict[Measure, dict[str, Curve]] = {}
    for measure in shown_measures():
        if all(row[measure.name]["mean"] is None for row in rows):
            continue  # not measured, or of one seed there is nothing to say
        lines: dict[str, dict[str, Any]] = {}
        for row in rows:
            others = _words({name: row["cell"][name] for name in names if name != parameter})
            lines.setdefault(others, {})[str(row["cell"].get(parameter, "all"))] = row[measure.name]
        metrics[measure] = {name: _curve([points.get(value) for value in values]) for name, points in lines.items()}
    return sweep_figure(parameter, values, metrics, new)


def _curve(points: Sequence[Mapping[str, Any] | None]) -> Curve:
    known = [point or {"mean": None, "ci95": None} for point in points]
    limits = [point["ci95"] or (None, None) for point in known]
    return Curve([point["mean"] for point in known], [low for low, _ in limits], [high for _, high in limits])
