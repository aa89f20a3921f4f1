"""The JSON results of a run as typed models: what is written is checked by them, and so is what is read.

``evals/<method>/*.json`` in SAEBench's shape with the resampled values behind intervals beside them, ``summary.json``,
``comparison.json``. Each carries the fingerprint of what it was made from.
"""

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import torch
from pydantic import BaseModel, Field, SkipValidation, TypeAdapter, ValidationError, create_model, model_validator
from sae_lens import __version__ as sae_lens_version
from typing_extensions import TypedDict

from sae_lens_classif.artifacts import Artifact
from sae_lens_classif.checksums import (
    altered,
    made_anew,
    read_json,
    read_tensors,
    sha256_of_tensors,
    write_json,
    write_tensors,
)
from sae_lens_classif.config.run import EvaluateConfig
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.base import Exact, evaluations
from sae_lens_classif.evals.comparison import ComparedMethod, Estimate
from sae_lens_classif.evals.concept_effects import ConceptEffects
from sae_lens_classif.evals.evaluate import Concept, Evaluation
from sae_lens_classif.evals.measures import FLOOR, Count, Measure, all_measures, find_measure, headlines
from sae_lens_classif.evals.results import Measures, finite
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.names import with_names
from sae_lens_classif.shapes import first_mismatch

logger = logging.getLogger(__name__)
_SETTINGS = "settings_sha256"
_EFFECTS = "effects.safetensors"
_RESAMPLES = "resamples_sha256"
_UNSTRUCTURED = ("eval_result_unstructured", _SETTINGS)
_Model = TypeVar("_Model", bound=BaseModel)


class Unstructured(Exact):
    """What else is worth keeping."""

    settings_sha256: str = Field(description="Of everything that the results depend on.")
    resamples_sha256: str = Field(description="Of the resampled values in the safetensors file beside it.")
    warnings: list[str]


class EvaluationResult(Exact):
    """The shape of SAEBench's result files."""

    eval_type_id: str
    # It may name evaluations that are not installed here.
    eval_config: SkipValidation[EvaluateConfig]
    eval_id: str
    datetime_epoch_millis: Count
    eval_result_metrics: BaseModel
    eval_result_details: list[BaseModel]
    eval_result_unstructured: Unstructured
    sae_lens_id: str = Field(description="Name of the method.")
    sae_lens_release_id: str = Field(description="Name of the run.")
    sae_lens_version: str
    sae_cfg_dict: dict[str, Any] = Field(description="As the SAE's cfg.json; empty for other methods.")


class Comparison(Exact):
    """``comparison.json``: concept methods beside each other."""

    n_test_texts: Count
    methods: dict[str, ComparedMethod]


class DataSet(Exact):
    """One data set of ``across.json``, with the comparison that was made on it."""

    name: str
    run: str = Field(description="The run folder, as it was given.")
    n_test_texts: Count
    competing: list[str] = Field(description="Methods that are neither controls nor recover too few decisions here.")
    methods: dict[str, ComparedMethod] = Field(description="Their differences are from the reference.")


class Score(Exact):
    """How a method stands by one measure over data sets."""

    mean_rank: float | None = Field(description="1 is best; null for a method that is not ranked.")
    n_ranked: Count = Field(description="Data sets that the rank is over: those where all ranked methods are measured.")
    better: Count = Field(description="Data sets on which it is better than the reference, Holm-corrected p <= 0.05.")
    worse: Count
    n_compared: Count = Field(description="Data sets on which both compete and have a paired bootstrap.")


class Across(Exact):
    """``across.json``: concept methods over several data sets."""

    against: str = Field(description="Name of the reference.")
    ranked: list[str] = Field(description="Methods that compete on every data set.")
    aside: dict[str, str] = Field(description="The others, each with why it is not ranked.")
    data_sets: list[DataSet]
    scores: dict[str, dict[str, Score]] = Field(description="Of each method, by measure.")


class SweepRow(BaseModel, extra="allow"):
    """The cells of a sweep that differ in the seed alone; what else it holds is a measure each."""

    __pydantic_extra__: dict[str, Estimate] = Field(init=False)
    cell: dict[str, Any] = Field(description="Values of the settings that were swept, by their full names; no seed.")
    seeds: list[Count]
    folders: list[str] = Field(description="Of each seed's cell, in ``sweep/``.")
    settings_sha256: list[str] = Field(description="Of everything that each seed's numbers depend on.")

    @model_validator(mode="after")
    def _as_many_as_seeds(self) -> Self:
        parts = (self.folders, self.settings_sha256, *(found.by_seed for found in self.measures.values()))
        if not self.seeds or any(len(part) != len(self.seeds) for part in parts):
            raise ValueError("as many values as seeds are expected")
        return self

    @property
    def measures(self) -> Mapping[str, Estimate]:
        """The measures by their names."""
        return self.__pydantic_extra__


class Sweep(Exact):
    """``sweep/sweep.json``: the cells of a grid of settings."""

    grid: dict[str, list[Any]] = Field(description="The swept settings by their full names, with their values.")
    rows: list[SweepRow] = Field(min_length=1)


# These two may hold more: measures of evaluations that are not installed here.
class MethodSummary(BaseModel, extra="allow"):
    """A method's headline numbers."""

    context: Literal["alone", "in_context"]
    warnings: list[str]
    concepts: list[Concept]
    settings_sha256: str = Field(description="Of everything that the numbers depend on.")


class HubNames(TypedDict):
    """Names on the Hub; None for what is not there."""

    model: str | None
    base_model: str | None
    data: str | None


class Summary(BaseModel, extra="allow"):
    """``summary.json``: what a run is about, and the headline numbers of its methods."""

    methods: dict[str, MethodSummary]
    run: str
    model: str
    hook: str
    read_at: str | None = Field(None, description="Whose state is explained, in words.")
    data: str
    class_names: list[str]
    multi_label: bool = Field(False, description="Whether a text may have several of the classes, or none.")
    n_test_texts: Count
    prompt: dict[str, Any]
    hub_names: HubNames = Field(description="What strangers know model and texts by.")


def evaluation_model(name: str) -> type[EvaluationResult]:
    """The model of an evaluation's file.

    Args:
        name: Name of the evaluation.
    """
    spec, title = evaluations()[name], name.title().replace("_", "")
    keys = dict(field for measure in spec.measures for field in measure.fields())
    metrics = create_model(f"{title}Metrics", __base__=Exact, __doc__=spec.about, **keys)
    one = Field(min_length=1, max_length=1)
    fields: dict[str, Any] = {
        "eval_type_id": (Literal[f"classif_{name}"], ...),
        "eval_result_metrics": (metrics, ...),
        "eval_result_details": (Annotated[list[spec.details], one], ...),  # type: ignore[name-defined]  # known at run time
    }
    about = f"``evals/<method>/{name}.json``."
    return create_model(f"{title}Result", __base__=EvaluationResult, __doc__=about, **fields)


def summary_model() -> type[Summary]:
    """The model of ``summary.json``, with the measures that are known here."""
    keys = dict(field for measure in _summarised() for field in measure.fields(may_be_missing=True))
    method = create_model("MethodSummary", __base__=MethodSummary, __doc__=MethodSummary.__doc__, **keys)
    fields: dict[str, Any] = {"methods": (dict[str, method], ...)}  # type: ignore[valid-type]  # known at run time
    fields |= find_measure(FLOOR).fields(may_be_missing=True)
    return create_model("Summary", __base__=Summary, __doc__=Summary.__doc__, **fields)


def _summarised() -> tuple[Measure, ...]:
    """Headline numbers, then curves."""
    return (*headlines(), *(measure for measure in all_measures() if measure.n_values > 1))


def json_schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schema of every kind of file, those of evaluations of other packages included."""
    kinds: dict[str, Any] = {name: evaluation_model(name) for name in evaluations()}
    kinds |= {"across": Across, "comparison": Comparison, "concepts": list[Concept], "summary": summary_model()}
    kinds["sweep"] = Sweep
    return {name: json_schema(kind) for name, kind in kinds.items()}


def json_schema(kind: Any) -> dict[str, Any]:
    """The JSON Schema of a kind of file.

    Args:
        kind: Its model, or what else pydantic makes a schema of.
    """
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema = {**draft, **TypeAdapter(kind).json_schema(by_alias=True)}
    place = schema.get("$defs", {}).get(Unstructured.__name__, schema)
    if "properties" in place:
        place["properties"]["own_sha256"] = {"type": "string", "description": "Of the rest of the file."}
    return schema


def read_measures(folder: Path, settings: str | None = None, *, to_measure: bool = False) -> dict[str, Measures]:
    """Read the evaluations of a method.

    Args:
        folder: Holds ``<evaluation>.json`` and ``<evaluation>.safetensors``; need not exist.
        settings: Only those that depend on this, the SHA-256 of everything that matters to them. Default: all.
        to_measure: Whether what is left out is measured next: then a damaged one is left out, too, with a warning.

    Returns:
        For each evaluation what it found; one that another version wrote is to be measured again and is left out.

    Raises:
        UserError: If a file is damaged, or the resampled values are missing or of another evaluation.
    """
    found = {}
    for name in evaluations():
        try:
            measures = _read_evaluation(name, folder / f"{name}.json", settings)
        except UserError as error:
            if not to_measure:
                raise
            logger.warning("%s: now it is measured anew", error)
            continue
        if measures is not None:
            found[name] = measures
    return found


def _read_evaluation(name: str, file: Path, settings: str | None) -> Measures | None:
    """One evaluation; None where it is absent, of other settings or of another version."""
    if not file.is_file() or (settings is not None and not _is_current(file, settings, _UNSTRUCTURED)):
        return None
    step = _step_of(file.parent)
    content = read_json(file, step)
    try:
        evaluation_model(name).model_validate(content)
    except ValidationError as error:
        logger.warning("%s is not what this version writes (%s): it is measured again", file, first_mismatch(error))
        return None
    resamples, _ = read_tensors(file.with_suffix(".safetensors"), step)
    if sha256_of_tensors(resamples) != content["eval_result_unstructured"][_RESAMPLES]:
        other = file.with_suffix(".safetensors")
        raise UserError(f"{other} belongs to another evaluation than the JSON file beside it; {made_anew(step)}")
    return Measures(content["eval_result_metrics"], content["eval_result_details"][0], resamples)


def settings_of_evaluations(folder: Path) -> str | None:
    """SHA-256 of everything that the evaluations in a folder depend on, as the first of them says; None without one.

    Raises:
        UserError: If it is damaged.
    """
    for name in evaluations():
        file = folder / f"{name}.json"
        if file.is_file():
            content = read_json(file, _step_of(folder))
            for key in _UNSTRUCTURED:
                content = content.get(key) if isinstance(content, dict) else None
            return content if isinstance(content, str) else None
    return None


def _step_of(folder: Path) -> str:
    """The command that measures what is in a folder of evaluations."""
    return "evaluate" if folder.name == METHOD else "compare"


def write_evaluation(
    folder: Path,
    evaluation: Evaluation,
    cfg: EvaluateConfig,
    *,
    settings: str,
    method: str,
    release: str,
    sae_cfg: dict[str, Any],
) -> None:
    """Write what was measured of a method.

    Args:
        folder: Where to; need not exist.
        evaluation: The results.
        cfg: Settings of the evaluations.
        settings: SHA-256 of everything that the results depend on.
        method: Name of the method.
        release: Name of the run.
        sae_cfg: Configuration of the SAE behind it; empty if there is none.

    Raises:
        UserError: If an evaluation gave something else than it declares.
    """
    common = {
        "eval_config": asdict(cfg),
        "eval_result_unstructured": {_SETTINGS: settings, "warnings": list(evaluation.warnings)},
        "sae_lens_id": method,
        "sae_lens_release_id": release,
        "sae_lens_version": sae_lens_version,
        "sae_cfg_dict": sae_cfg,
    }
    for name in cfg.evals:
        if name in evaluation.measures:
            measures = evaluation.measures[name]
            result = _result(name, measures, common)
            write_tensors(folder / f"{name}.safetensors", measures.resamples)
            write_json(folder / f"{name}.json", result)  # last: what reads it finds the other
    if evaluation.effects is not None:
        write_tensors(folder / _EFFECTS, evaluation.effects.to_tensors(), {_SETTINGS: settings})


def _result(name: str, measures: Measures, common: Mapping[str, Any]) -> dict[str, Any]:
    """The content of an evaluation's file, checked, with what is common to all evaluations of a method."""
    resamples = {name: value.detach().contiguous() for name, value in measures.resamples.items()}
    content = {
        **common,
        "eval_type_id": f"classif_{name}",
        "eval_id": str(uuid.uuid4()),
        "datetime_epoch_millis": max(0, int(time.time() * 1000)),
        "eval_result_metrics": measures.metrics,
        "eval_result_details": [measures.details],
        "eval_result_unstructured": {**common["eval_result_unstructured"], _RESAMPLES: sha256_of_tensors(resamples)},
    }
    result = {key: finite(content[key]) for key in EvaluationResult.model_fields}
    try:
        evaluation_model(name).model_validate(result)
    except ValidationError as error:
        raise UserError(
            f"the evaluation {name!r} gave something else than it declares ({first_mismatch(error)}); mend its "
            "measures or details"
        ) from error
    return result


def read_effects(folder: Path, settings: str) -> ConceptEffects | None:
    """What each concept of a method does to the decisions, if that was kept.

    Args:
        folder: Holds the method's evaluations.
        settings: SHA-256 of everything that it depends on.

    Returns:
        None where it was not worked out with these settings.

    Raises:
        UserError: If the file is damaged.
    """
    if not (folder / _EFFECTS).is_file():
        return None
    tensors, notes = read_tensors(folder / _EFFECTS, _step_of(folder))
    if _SETTINGS not in notes:
        raise altered(folder / _EFFECTS, _step_of(folder))
    return ConceptEffects.from_tensors(tensors) if notes.get(_SETTINGS) == settings else None


def drop_damaged_effects(folder: Path) -> bool:
    """Remove what is known of the concepts' effects where it is damaged; whether it was.

    Args:
        folder: Holds the method's evaluations.
    """
    try:
        read_effects(folder, settings="")
    except UserError as error:
        logger.warning("%s: now it is measured anew", error)
        (folder / _EFFECTS).unlink()
        return True
    return False


def read_summary(run: RunFolder) -> dict[str, Any]:
    """Content of ``summary.json``, with names that a user gave; no method where nothing was evaluated.

    Raises:
        UserError: If it is damaged, or of another version.
    """
    return with_names(run, _read_summary(run))


def _read_summary(run: RunFolder) -> dict[str, Any]:
    """The file as it is."""
    if not run.summary.is_file():
        return {"methods": {}}
    content: dict[str, Any] = read_json(run.summary, "evaluate")
    _check(summary_model(), content, run.summary, "evaluate")
    return content


def influence_of(entry: Mapping[str, Any], n_concepts: int) -> torch.Tensor:
    """Influence of each concept of a method, float32 (n,); 0 where a concept is never active or it was not measured.

    Args:
        entry: The method's entry in ``summary.json``.
        n_concepts: How many concepts it has, n.
    """
    influence = torch.zeros(n_concepts)
    for concept in entry["concepts"]:
        influence[concept["index"]] = concept["influence"] or 0.0
    return influence


def drop_outdated(run: RunFolder) -> None:
    """Take out of ``summary.json`` what another version wrote, so that it is measured anew.

    Raises:
        UserError: If the file is damaged.
    """
    if not run.summary.is_file():
        return
    content = read_json(run.summary, "evaluate` and `compare")
    error = _mismatch(summary_model(), content)
    if error is None:
        return
    entries = content.get("methods") if isinstance(content, dict) else None
    if isinstance(entries, dict):
        outdated = [
            name for name in entries if _mismatch(summary_model(), {**content, "methods": {name: entries[name]}})
        ]
        content = {**content, "methods": {name: entries[name] for name in entries if name not in outdated}}
        if content["methods"]:
            named = ", ".join(outdated)
            logger.warning("%s: what another version wrote of %s is dropped (%s)", run.summary, named, error)
            write_json(run.summary, content)
            return
    logger.warning("%s is of another version (%s): it is written anew", run.summary, error)
    run.summary.unlink()


def update_summary(
    run: RunFolder, method: str, evaluation: Evaluation, about: Mapping[str, Any], settings: str, context: str
) -> None:
    """Put the numbers of one method into a run's summary, beside those of others.

    Args:
        run: The run folder.
        method: Name of the method.
        evaluation: What the evaluations found.
        about: What the run is about: model, data, hook.
        settings: SHA-256 of everything that the numbers depend on.
        context: ``alone`` or ``in_context``.
    """
    summary = _read_summary(run)
    names = [name for measure in _summarised() for name in (measure.name, f"{measure.name}_ci95")]
    metrics = finite(evaluation.metrics)
    summary["methods"][method] = {
        **{name: metrics[name] for name in names if name in metrics},
        "context": context,
        "warnings": list(evaluation.warnings),
        "concepts": finite([asdict(concept) for concept in evaluation.concepts]),
        _SETTINGS: settings,
    }
    if FLOOR in metrics:
        summary[FLOOR] = metrics[FLOOR]
    summary.update(about)
    summary_model().model_validate(summary)
    write_json(run.summary, summary)


def is_in_summary(run: RunFolder, method: str, settings: str) -> bool:
    """Whether the summary holds a method's numbers for these settings."""
    return _is_current(run.summary, settings, ("methods", method, _SETTINGS))


def write_methods(file: Path, methods: Sequence[ComparedMethod], n_texts: int) -> None:
    """Write ``comparison.json``.

    Args:
        file: Where to.
        methods: The rows.
        n_texts: Number of test texts.
    """
    content = finite({"n_test_texts": n_texts, "methods": {method.name: asdict(method) for method in methods}})
    Comparison.model_validate(content)
    write_json(file, content)


def read_methods(run: RunFolder) -> Comparison:
    """Read ``comparison.json``.

    Raises:
        UserError: If there is none, or it is damaged or of another version.
    """
    file = run.folder / "comparison.json"
    if not file.is_file():
        raise UserError(f"{run.folder} has no comparison.json; run `sae-lens-classif compare --run {run.folder}` first")
    return _check(Comparison, read_json(file, "compare"), file, "compare")


def read_sweep(run: RunFolder) -> Sweep:
    """Read ``sweep/sweep.json``.

    Raises:
        UserError: If there is none, or it is damaged or of another version.
    """
    if not run.sweep.is_file():
        raise UserError(
            f"{run.folder} has no sweep/sweep.json; run `sae-lens-classif sweep --run {run.folder} --grid "
            "sae.gamma=0.05,0.1`, or with other settings, first"
        )
    return _check(Sweep, read_json(run.sweep, "sweep"), run.sweep, "sweep")


def read_comparison(run: RunFolder, method: str, seed: int, settings: str) -> tuple[ComparedMethod, ...]:
    """Read the methods that ``compare`` measured beside one of them.

    Args:
        run: The run folder.
        method: Name of that one.
        seed: The seed it was fitted with.
        settings: SHA-256 of everything that its measures depend on.

    Returns:
        The rows, that of the method among them; none where nothing was compared, or with another fit of it or other
        settings of the evaluation. Why a method failed is left out: it may name folders of this machine.

    Raises:
        UserError: If the file is damaged, or of another version.
    """
    file = run.folder / "comparison.json"
    if not file.is_file():
        return ()
    methods = read_methods(run).methods
    row = methods.get(method)
    if row is None or seed not in row.seeds:
        logger.warning("%s does not hold %s with seed %d, and is left out: run `compare` again", file, method, seed)
        return ()
    if not row.settings_sha256:
        logger.warning("%s does not say what it was made from, and is left out: run `compare` again", file)
        return ()
    if row.settings_sha256[row.seeds.index(seed)] != settings:
        logger.warning(
            "%s is of another fit or other settings of %s, and is left out: run `compare` again", file, method
        )
        return ()
    return tuple(replace(row, notes=tuple(map(_without_reason, row.notes))) for row in methods.values())


def _without_reason(note: str) -> str:
    before, failed, _ = note.partition("failed:")
    return before + failed.removesuffix(":")


def _is_current(file: Path, settings: str, place: tuple[str, ...]) -> bool:
    """Whether a file says that it was made with these settings.

    Raises:
        UserError: If it is damaged.
    """
    status = Artifact(file, file, settings, place).status()
    if status.state == "damaged":
        raise UserError(status.reason)
    return status.state == "current"


def _mismatch(model: type[BaseModel], content: Any) -> str | None:
    """The first thing in which a content is not what a model says, in words; None where it is."""
    try:
        model.model_validate(content)
    except ValidationError as error:
        return first_mismatch(error)
    return None


def _check(model: type[_Model], content: Any, file: Path, step: str) -> _Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UserError(
            f"{file} is not what this version writes ({first_mismatch(error)}); run the step `{step}` again"
        ) from error
