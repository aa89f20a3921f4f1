"""What each command of the command line does, once its settings are known."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from sae_lens_classif.audit.diff import diff
from sae_lens_classif.audit.stability import stability
from sae_lens_classif.cli.display import (
    show_across,
    show_comparison,
    show_diff,
    show_explanation,
    show_features,
    show_folder,
    show_publication,
    show_stability,
    show_summary,
    show_sweep,
    show_transfer,
    show_transfer_features,
)
from sae_lens_classif.errors import UserError
from sae_lens_classif.explaining.explanation import to_page
from sae_lens_classif.files import check_output, write_text
from sae_lens_classif.publishing.publish import publish as publish_run
from sae_lens_classif.report.features_page import write_features_report
from sae_lens_classif.report.page import write_report
from sae_lens_classif.runs import steps as pipeline
from sae_lens_classif.runs.across import across
from sae_lens_classif.runs.compare import compare_step
from sae_lens_classif.runs.features import features_step
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.open_run import open_run
from sae_lens_classif.runs.score_file import score_file
from sae_lens_classif.runs.study_files import STUDY
from sae_lens_classif.runs.sweep import sweep_step
from sae_lens_classif.runs.transfer import transfer_step
from sae_lens_classif.runs.transfer_features import transfer_features_step

Step = Callable[[RunFolder], Any]


def _steps(*steps: Step) -> Step:
    """One command of several steps; the settings are noted after each, for those that come later."""

    def command(run: RunFolder) -> Any:
        result = None
        for step in steps:
            result = step(run)
            run.note()
        return result

    return command


def _evaluate(run: RunFolder) -> None:
    summary = _steps(pipeline.evaluate_step)(run)
    show_summary(Console(), summary, METHOD, run.texts("test").texts)
    show_folder(Console(), run.folder)


def _run(run: RunFolder) -> None:
    _steps(*pipeline.MAKING)(run)
    _evaluate(run)


def _compare(run: RunFolder) -> None:
    show_comparison(Console(), _steps(compare_step)(run))
    show_folder(Console(), run.folder)


def _sweep(run: RunFolder) -> None:
    show_sweep(Console(), _steps(sweep_step)(run))
    show_folder(Console(), run.folder / "sweep")


def _features(run: RunFolder) -> None:
    show_features(Console(), _steps(features_step)(run))
    page = write_features_report(run)
    show_folder(Console(), run.folder / "features")
    _show_features_report(page)


def transfer(run: RunFolder, other: str, method: str = METHOD) -> None:
    """Measure a run's concepts on the test texts of another data set, and show both beside each other."""
    show_transfer(Console(), transfer_step(run, other, method))
    show_folder(Console(), run.folder / "transfer")


def transfer_features(run: RunFolder, what: str) -> None:
    """Carry a run's features over to other languages, data sets or models, and show what holds there."""
    show_transfer_features(Console(), _steps(lambda run: transfer_features_step(run, what))(run))
    page = write_features_report(run)
    show_folder(Console(), run.folder / "features")
    _show_features_report(page)


def _publish(run: Path, repo: str, *, dry_run: bool, **choices: Any) -> None:
    address = publish_run(run, repo, dry_run=dry_run, **choices)
    show_publication(Console(), RunFolder.open(run).hub, address, repo, dry_run)


def _stability(run: Path, seeds: int, method: str, **choices: Any) -> None:
    show_stability(Console(), stability(run, seeds, method, **choices))
    show_folder(Console(), run)
    Console().print("`report` and `publish`, run again, show it with the concepts.")


def _diff(run: Path, other: Path, method: str, allow_code: Sequence[str]) -> None:
    show_diff(Console(), diff(run, other, method, allow_code=allow_code))
    show_folder(Console(), other / "diff")


def _explain(run: Path, texts: Sequence[str], html: Path | None, method: str, allow_code: Sequence[str]) -> None:
    if len(texts) > 1 and all(len(text.split()) < 2 for text in texts):
        raise UserError(f"every one of the {len(texts)} texts is a single word; a text of several words needs quotes")
    opened = open_run(run, method, allow_code=allow_code)
    if html is not None:
        check_output(html)
    explanations = opened.explain(texts)
    for number, explanation in enumerate(explanations):
        Console().print("\n" * min(number, 1), end="")
        show_explanation(Console(), explanation, with_text=len(texts) > 1)
    if html is not None:
        write_text(html, to_page(*explanations))
        Console().print(f"As a page: {escape(str(html))}", soft_wrap=True, highlight=False)


def _name(run: Path, concept: int, name: str, method: str) -> None:
    opened = open_run(run, method)
    opened.name(concept, name)
    Console().print(escape(repr(opened.concepts[concept].described)), highlight=False, soft_wrap=True)
    Console().print(
        f"Kept in {escape(str(run / 'names.json'))}. `report` and `publish`, run again, show it.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def _score(run: Path, file: str, out: Path | None, **choices: Any) -> None:
    n_texts = score_file(run, file, out, **choices)
    if out is not None:
        Console().print(f"{n_texts:,} texts: {escape(str(out))}", soft_wrap=True, highlight=False)


def _report(run: Path, out: Path | None, explained: int, method: str, **choices: Any) -> None:
    opened = RunFolder.open(run, allow_code=choices["allow_code"])
    has_study, is_trained = (opened.folder / "features" / STUDY).is_file(), opened.sae.is_dir()
    if has_study:
        page = write_features_report(opened, None if is_trained else out, mask=choices["mask"], note=choices["note"])
        _show_features_report(page)
    if is_trained or not has_study:
        _show_report(write_report(run, out, explained, method, **choices))
    if choices["mask"]:
        Console().print("Handles and addresses on the web are masked in its texts.")


def _show_report(page: Path) -> None:
    Console().print(
        f"Open {escape(str(page))} in a browser. It holds some of the test texts.", soft_wrap=True, highlight=False
    )


def _show_features_report(page: Path) -> None:
    Console().print(
        f"Open {escape(str(page))} in a browser: the features behind each class, with some of the training texts.",
        soft_wrap=True, highlight=False,
    )  # fmt: skip


def _across(runs: Sequence[Path], out: Path, against: str) -> None:
    show_across(Console(), across(runs, out, against))
    show_folder(Console(), out)


def _demo(run: RunFolder) -> None:
    _steps(*pipeline.MAKING)(run)
    summary = _steps(pipeline.evaluate_step)(run)
    compared = _steps(compare_step)(run)
    show_summary(Console(), summary, METHOD, run.texts("test").texts)
    show_comparison(Console(), compared)
    show_folder(Console(), run.folder)
    _show_report(write_report(run))


COMMANDS: dict[str, Step] = {
    "finetune": _steps(pipeline.finetune_step),
    "cache": _steps(pipeline.cache_step),
    "train": _steps(pipeline.train_step),
    "evaluate": _evaluate,
    "run": _run,
    "compare": _compare,
    "sweep": _sweep,
    "features": _features,
    "demo": _demo,
}

# What is done with finished runs; the command line's options by their names.
WITHOUT_SETTINGS: dict[str, Callable[..., None]] = {
    "stability": _stability,
    "diff": _diff,
    "explain": _explain,
    "name": _name,
    "score": _score,
    "report": _report,
    "publish": _publish,
    "across": _across,
}
