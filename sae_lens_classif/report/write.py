"""The command ``report``: one HTML file about a run."""

from pathlib import Path

from sae_lens_classif.errors import UserError
from sae_lens_classif.files import folder_is_writable, write_text
from sae_lens_classif.report.build import gather_report
from sae_lens_classif.report.page import report_page
from sae_lens_classif.runs.folder import RunFolder


def write_report(run: str | Path | RunFolder, path: str | Path | None = None, explained: int = 100) -> Path:
    """Write one self-contained page about a run: its classifier, its concepts, how far to trust them, its mistakes.

    The page holds some of the test texts. It asks no other machine for anything.

    Args:
        run: The run folder, trained and evaluated.
        path: Where to. Default: ``RUN/report.html``.
        explained: For so many texts the page says which concepts and words their class is due to; each takes a pass of
            the model over the text without each of its words.

    Returns:
        Path of the page.

    Raises:
        UserError: If the run is not trained and evaluated as it stands now, or ``path`` cannot be written.
    """
    files = run if isinstance(run, RunFolder) else RunFolder.open(run)
    target = files.report if path is None else Path(path)
    if target.is_dir():
        raise UserError(f"{target} is a folder; give the path of a file, such as {target / 'report.html'}")
    folder_is_writable(target.parent)
    if explained < 0:
        raise UserError(f"explained is {explained}; it must be at least 0")
    write_text(target, report_page(gather_report(files, explained)))
    return target
