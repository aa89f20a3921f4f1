"""The page about a study of features: one HTML file that asks no other machine for anything, and runs no script."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from sae_lens_classif.errors import UserError
from sae_lens_classif.features.advice import advice
from sae_lens_classif.features.behind import Behind
from sae_lens_classif.features.behind_words import WEIGHTS
from sae_lens_classif.features.decisions import DecisionStudy
from sae_lens_classif.features.study import Study
from sae_lens_classif.features.tables import HEADINGS, briefly, in_a_sentence, study_rows
from sae_lens_classif.features.transfer import TransferStudy
from sae_lens_classif.files import check_output, write_text
from sae_lens_classif.report.features_view import heat_maps, shown_features
from sae_lens_classif.report.page import class_colours
from sae_lens_classif.report.transfer_view import carried
from sae_lens_classif.runs.folder import RunFolder, opened_to_write
from sae_lens_classif.runs.study_files import read_study, read_transfers
from sae_lens_classif.templates import template

_N_ROWS = 40  # of the table that are shown unasked


def write_features_report(
    run: RunFolder, path: str | Path | None = None, *, mask: bool = False, note: str = ""
) -> Path:
    """Write the page about a run's study of features. It holds some of the training texts.

    Args:
        run: A run in which ``features`` was run.
        path: Where to. Default: ``RUN/features/report.html``.
        mask: Whether handles (``@name``) and addresses on the web are masked in the texts.
        note: What whoever opens the page should know first.

    Returns:
        Path of the page.

    Raises:
        UserError: If there is no study, a file of it is not what was written, or ``path`` cannot be written.
    """
    target = run.folder / "features" / "report.html" if path is None else check_output(path)
    with opened_to_write(run, "report") if path is None else nullcontext(run) as files:
        found = read_study(files)
        if found is None:
            raise UserError(f"{files.folder} holds no study of features; run `features` first")
        transfers, name = read_transfers(files), files.folder.resolve().name
        write_text(target, features_page(*found, name=name, transfers=transfers, mask=mask, note=note))
    return target


def features_page(
    study: Study,
    behind: Behind,
    *,
    name: str,
    transfers: Sequence[TransferStudy | DecisionStudy] = (),
    mask: bool = False,
    note: str = "",
) -> str:
    """The whole page.

    Args:
        study: What was found.
        behind: The features behind each class.
        name: How the run is called.
        transfers: What was carried over to other languages, data sets, models.
        mask: Whether handles and addresses are masked in texts.
        note: What whoever opens the page should know first.
    """
    said, advised = briefly(study), list(advice(study))
    return template("features.html").render(
        run=name,
        note=note,
        is_masked=mask,
        study=study,
        sentence=said(in_a_sentence(study).removesuffix(" ".join(advised)).strip()),
        advice=list(map(said, advised)),
        approach=said(behind.approach),
        behind=behind,
        weights_are=WEIGHTS[behind.classifier],
        names=behind.class_names,
        colours=class_colours(len(behind.class_names)),
        maps=heat_maps(study, said),
        headings=HEADINGS,
        rows=[tuple(map(said, row)) for row in study_rows(study)],
        is_long=len(study.rows) > _N_ROWS,
        classes=[
            (one.class_number, shown) for one, shown in zip(behind.classes, shown_features(behind, mask), strict=True)
        ],
        transfers=carried(transfers, said),
    )
