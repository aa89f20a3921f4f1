"""A report as one HTML file that asks no other machine for anything."""

import base64
import hashlib
import logging
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from markupsafe import Markup

from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.measures import headline_rows
from sae_lens_classif.evals.slices import LEAST_TEXTS
from sae_lens_classif.figures.style import class_colour, darken, lighten
from sae_lens_classif.files import check_output, write_text
from sae_lens_classif.report.build import Choices, gather_report
from sae_lens_classif.report.downloads import downloads
from sae_lens_classif.report.findings import findings
from sae_lens_classif.report.sections import (
    N_FIRST_CLASSES,
    ListedTexts,
    concept_groups,
    confusion,
    glance,
    methods_table,
    suspect_concepts,
    word_index,
)
from sae_lens_classif.report.verdict import concerns
from sae_lens_classif.report.view import Report
from sae_lens_classif.runs.folder import METHOD, RunFolder, opened_to_write
from sae_lens_classif.templates import template

logger = logging.getLogger(__name__)

_DARK = "#24282f"  # the background of a card on the dark page, as in report_style.html
_CONTRAST = 5.0  # with white; with a card on the light page a little less

EXPLAINED = 40  # texts; each takes a pass of the model for each of its words


def write_report(
    run: str | Path | RunFolder,
    path: str | Path | None = None,
    explained: int = EXPLAINED,
    method: str = METHOD,
    *,
    by: str | Sequence[str] = (),
    mask: bool = False,
    note: str = "",
    allow_code: str | Iterable[str] = (),
) -> Path:
    """Write one self-contained page about a run: its classifier, its concepts, how far to trust them, its mistakes.

    The page holds some of the test texts. It asks no other machine for anything.

    Args:
        run: The run folder, trained and evaluated.
        path: Where to. Default: ``RUN/report.html``, of another method than the run's ClassifSAE
            ``RUN/report.<method>.html``.
        explained: For so many texts the page says which concepts and words their class is due to; each takes a pass of
            the model over the text without each of its words.
        method: Whose concepts: the run's ClassifSAE, or a method that ``compare`` fitted, with the first of its seeds.
        by: A column of the data, such as a language, or several: the page says by it where the classifier errs more.
        mask: Whether handles (``@name``) and addresses on the web are masked in the texts.
        note: What whoever opens the page should know first, such as that its texts are offensive.
        allow_code: A name of code that the run's settings may name, ``module:attribute``, or several; a ``RunFolder``
            says so itself.

    Returns:
        Path of the page.

    Raises:
        UserError: If the run is not trained and evaluated as it stands now, its texts have no such column, or ``path``
            cannot be written.
    """
    if path is not None:
        check_output(path)
    if explained < 0:
        raise UserError(f"explained is {explained}; it must be at least 0")
    choices = Choices(explained, [by] if isinstance(by, str) else by, mask, note)
    with _opened(run, allow_code, in_run=path is None) as files:
        report = gather_report(files, choices, method)
        target = files.report(report.method) if path is None else Path(path)
        write_text(target, report_page(report))
    for concern in concerns(report):
        logger.warning(concern)
    return target


def _opened(
    run: str | Path | RunFolder, allow_code: str | Iterable[str], in_run: bool
) -> AbstractContextManager[RunFolder]:
    """The run, as its only writer where the page is written there; one elsewhere can be of a run that is read-only."""
    if in_run:
        return opened_to_write(run, "report", allow_code=allow_code)
    return nullcontext(run if isinstance(run, RunFolder) else RunFolder.open(run, allow_code=allow_code))


def report_page(report: Report) -> str:
    """The whole page.

    Args:
        report: What it shows.
    """
    script = template("report_script.html").render()
    found, texts = list(findings(report)), ListedTexts(report)
    # Texts are listed in the order of the page.
    groups, suspects = concept_groups(report, texts), suspect_concepts(report, texts)
    misled = [texts.misled(mistake) for mistake in report.mistakes.shown]
    return template("report.html").render(
        report=report,
        names=report.class_names,
        colours=class_colours(len(report.class_names)),
        script=Markup(script),  # ours alone
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        glance=glance(report, found),
        folds_classes=len(report.class_names) > 2 * N_FIRST_CLASSES,
        prompt=report.summary["prompt"],
        findings=found,
        confusion=confusion(report),
        word_index=word_index(report),
        least_texts=LEAST_TEXTS,
        downloads=downloads(report),
        headline_rows=headline_rows({**report.summary, **report.entry}),
        is_alone=report.entry["context"] == "alone",
        is_by_influence=report.entry.get("conditional_tvd") is not None,
        keeps_end=texts.keeps_end,
        groups=groups,
        suspects=suspects,
        misled=misled,
        concept_map=Markup(report.concept_map) if report.concept_map else None,  # matplotlib escapes what it writes
        methods=methods_table(report),
        tradeoffs=Markup(report.tradeoffs) if report.tradeoffs else None,
    )


def class_colours(n_classes: int) -> list[tuple[str, str]]:
    """Colour of each class, on a light and on a dark page."""
    colours = [class_colour(number, n_classes) for number in range(n_classes)]
    return [(darken(colour, _CONTRAST), lighten(colour, _DARK)) for colour in colours]
