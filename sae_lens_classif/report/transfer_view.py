"""What carries over to other languages, data sets and models, as matrices of a page."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sae_lens_classif.features import decision_tables, transfer_tables
from sae_lens_classif.features.decisions import COMMONEST, DecisionStudy
from sae_lens_classif.features.transfer import TransferStudy
from sae_lens_classif.report.features_view import Matrix, matrix_of


@dataclass(frozen=True)
class Carried:
    """One transfer.

    Attributes:
        what: ``languages``, ``data`` or ``models``.
        title: Its heading.
        sentences: What was found.
        matrices: In numbers.
    """

    what: str
    title: str
    sentences: tuple[str, ...]
    matrices: tuple[Matrix, ...]


def carried(found: Sequence[TransferStudy | DecisionStudy], said: Callable[[str], str]) -> list[Carried]:
    """What was carried over, in the order given.

    Args:
        found: Transfers of a run.
        said: Writes a folder by its last part.
    """
    return [_of_decisions(one, said) if isinstance(one, DecisionStudy) else _of_domains(one, said) for one in found]


def _of_domains(found: TransferStudy, said: Callable[[str], str]) -> Carried:
    noun = transfer_tables.NOUNS[found.what]
    sentences = tuple(map(said, transfer_tables.in_sentences(found)))
    return Carried(found.what, f"To another {noun}", sentences, tuple(_matrices(found, noun)))


def _matrices(found: TransferStudy, noun: str) -> Iterator[Matrix]:
    lowest = min(value for of_target in found.floor.values() for value in of_target.values())
    about = (
        f"Macro F1 in percent on the test texts of one {noun}, trained on those of another, with the 95 % interval "
        f"below it. What has no colour is no better than saying {transfer_tables.FLOOR} always."
    )
    for name, matrix in found.matrices.items():
        values = {
            (source, target): (cell.macro_f1.value, cell.macro_f1.ci95)
            for source, cells in matrix.cells.items()
            for target, cell in cells.items()
        }
        title = f"{transfer_tables.TITLES[name]}, from one {noun} to the other"
        yield matrix_of(f"{found.what}-{name}", title, about, ("trained on", "tested on"), values, lowest)


def _of_decisions(found: DecisionStudy, said: Callable[[str], str]) -> Carried:
    values = {
        (said(view), said(of)): (cell.macro_f1.value, cell.macro_f1.ci95)
        for view, cells in found.cells.items()
        for of, cell in cells.items()
    }
    about = (
        "Macro F1 in percent of telling, on the test texts, what a classifier decides, with the 95 % interval below "
        "it. The state that it decides by says how much can be told at all."
    )
    lowest = min(cell.macro_f1.value for cell in found.cells[COMMONEST].values())
    matrix = matrix_of("models", "What tells a classifier's decisions", about, ("told by", "of"), values, lowest)
    sentences = tuple(map(said, decision_tables.in_sentences(found)))
    return Carried("models", "To another model's decisions", sentences, (matrix,))
