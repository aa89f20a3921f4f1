"""What a study of features leaves in a run: tables, the features behind each class, the shapes of other packages."""

import logging
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sae_lens_classif.checksums import sha256_of_file, write_json
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.features.behind import Behind, features_behind, fingerprint
from sae_lens_classif.features.behind_words import behind_in_markdown
from sae_lens_classif.features.classifiers import ClassifierSettings
from sae_lens_classif.features.decisions import DecisionStudy
from sae_lens_classif.features.others import sae_probes_results, saebench_results
from sae_lens_classif.features.sources import FeatureSource
from sae_lens_classif.features.store import FeatureStore
from sae_lens_classif.features.study import Stores, Study, StudyRow
from sae_lens_classif.features.tables import HEADINGS, briefly, in_a_sentence, study_rows, to_markdown
from sae_lens_classif.features.transfer import TransferStudy
from sae_lens_classif.files import write_text
from sae_lens_classif.hooks.token_states import TokenReader
from sae_lens_classif.hub import hub_name
from sae_lens_classif.runs.about import last_part
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.runs.names import names_of
from sae_lens_classif.runs.tables import latex, latex_table
from sae_lens_classif.shapes import read_shape

logger = logging.getLogger(__name__)
BEHIND, STUDY = "behind.json", "study.json"
_WEIGHTS = "sae_weights.safetensors"


def write_study(
    run: RunFolder,
    study: Study,
    stores: Mapping[str, Stores],
    best: str,
    data: tuple[TextData, TextData],
    opened: Callable[[], tuple[TokenReader, list[FeatureSource]]],
    settings: ClassifierSettings,
) -> None:
    """Write ``features/study.{md,tex}``, ``features/behind.json``, and what other packages would have written.

    Args:
        run: The run folder.
        study: What was found.
        stores: For each model, features of the training and of the test texts.
        best: The model of the best approach.
        data: The texts.
        opened: That model, and where its features come from.
        settings: What was fitted.
    """
    folder = run.folder / "features"
    behind = _behind(run, study, stores[best][0], data[0], opened, settings)
    write_text(folder / "study.md", f"{to_markdown(study)}\n{behind_in_markdown(behind)}")
    write_text(folder / "study.tex", study_in_latex(study))
    dataset, of_probes, of_bench = last_part(str(run.cfg.data.source)), list[Any](), list[Any]()
    for model, (_, test) in stores.items():
        name = model if hub_name(model) else last_part(model)
        own = study.model_copy(update={"rows": rows_of(study, model)})
        given = own, test.plan, data[1], dataset, settings
        of_probes += sae_probes_results(*given).items()
        of_bench += saebench_results(*given, name).items()
    _write_all(folder / "sae_probes", of_probes)
    _write_all(folder / "saebench", of_bench)


def rows_of(study: Study, model: str) -> dict[str, StudyRow]:
    """The approaches of one model, where a study has several; else all."""
    return {name: row for name, row in study.rows.items() if row.model in (None, model)}


def read_study(run: RunFolder) -> tuple[Study, Behind] | None:
    """What ``features`` found in a run; None where it was not run.

    Raises:
        UserError: If a file is not what was written.
    """
    file, behind = (run.folder / "features" / name for name in (STUDY, BEHIND))
    if not file.is_file():
        return None
    remedy = "delete it and run `features` again"
    return read_shape(Study, file, "`features`", remedy), read_shape(Behind, behind, "`features`", remedy)


def read_transfers(run: RunFolder) -> list[TransferStudy | DecisionStudy]:
    """What ``features --transfer`` found in a run: over languages, data sets, models, as far as it was run.

    Raises:
        UserError: If a file is not what was written.
    """
    kinds = {"languages": TransferStudy, "data": TransferStudy, "models": DecisionStudy}
    files = {run.folder / "features" / f"transfer_{what}.json": kind for what, kind in kinds.items()}
    remedy = "delete it and run `features --transfer` again"
    return [read_shape(kind, file, "`features`", remedy) for file, kind in files.items() if file.is_file()]


def study_in_latex(study: Study) -> str:
    """The table for a paper (needs the package booktabs), how to read it as comments below it."""
    said = briefly(study)

    def cell(words: str) -> str:
        value = words.removesuffix("*")
        return latex(said(value)) + (r"$^{*}$" if value != words else "")

    rows = [[latex(heading) for heading in HEADINGS], *([*map(cell, row)] for row in study_rows(study))]
    about = (
        said(in_a_sentence(study)),
        "95 % intervals over resampled test texts; * another macro F1 than the best baseline's (paired bootstrap, "
        "Holm's correction); in cross-validation: the settings picked, in brackets the worst and best.",
    )
    return "\n".join([*latex_table(rows), *(f"% {' '.join(line.split())}" for line in about), ""])


def _behind(
    run: RunFolder,
    study: Study,
    store: FeatureStore,
    data: TextData,
    opened: Callable[[], tuple[TokenReader, list[FeatureSource]]],
    settings: ClassifierSettings,
) -> Behind:
    """The features behind each class, as they were found before or anew."""
    row, file = study.rows[study.best], run.folder / "features" / BEHIND
    column = store.column(row.features)
    names = _names(run, column.source)
    known = _known(file)
    if known is not None and known.made_from == fingerprint(store, (study.best, row), settings, names):
        return known
    reader, sources = opened()
    source = next(one for one in sources if one.name == column.source)
    found = features_behind((study.best, row), store, data, reader, source, settings, names)
    write_json(file, found.model_dump(mode="json"))
    return found


def _known(file: Path) -> Behind | None:
    if not file.is_file():
        return None
    try:
        known: Behind = read_shape(Behind, file, "`features`", "it is made again")
    except UserError as error:
        logger.warning("%s: it is made again", error)
        return None
    return known


def _names(run: RunFolder, source: str) -> dict[int, str]:
    """Names that the user gave to the concepts of the run's own ClassifSAE, where that is the source."""
    own, asked = run.sae / _WEIGHTS, Path(source) / _WEIGHTS
    is_own = own.is_file() and asked.is_file() and sha256_of_file(own) == sha256_of_file(asked)
    return names_of(run) if is_own else {}


def _write_all(folder: Path, results: Iterable[tuple[str, Any]]) -> None:
    """A file an SAE, and none of a study of before."""
    shutil.rmtree(folder, ignore_errors=True)
    for number, (source, content) in enumerate(results):
        name = re.sub(r"[^\w.-]+", "_", last_part(source), flags=re.ASCII)[-80:]
        write_json(folder / f"{number}_{name}.json", content)
