"""``score``: a file of texts, row by row in bounded memory, with the class and the active concepts of each."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from tqdm.auto import tqdm

from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.explaining.scoring import CHUNK, score
from sae_lens_classif.files import new_file
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.run_classifier import open_run_classifier
from sae_lens_classif.runs.run_method import load_fitted

Row = dict[str, Any]
RESULTS = ("predicted", "probability", "through_concepts", "concepts")
STANDARD_INPUT = "-"


def score_file(
    run: str | Path, source: str | Path, out: str | Path | None = None, text_column: str = "text", method: str = METHOD
) -> int:
    """Score the texts of a file; its other columns are kept.

    Args:
        run: A run folder, trained.
        source: JSON lines, CSV or parquet by its suffix; ``-`` for standard input, a text or a JSON object a line.
        out: JSON lines, CSV (concepts as JSON) or parquet by its suffix. Default: JSON lines to standard output.
        text_column: Which column holds the texts.
        method: Whose concepts.

    Returns:
        How many texts there were.

    Raises:
        UserError: If the file or the column is missing, or one has the name of a result.
    """
    opened = RunFolder.open(run)
    write_to = _writer(out)  # or refused, before any work
    rows = iter(_rows(source, text_column))
    first = list(islice(rows, CHUNK))
    if not first:
        raise UserError(f"{source} holds no row; give a file with at least one text")
    fitted, classifier = load_fitted(opened, method), open_run_classifier(opened)
    n_rows = 0
    with write_to() as write, tqdm(desc="Scoring", unit=" texts", delay=1) as progress:
        chunk = first
        while chunk:
            texts = [_text_of(row, n_rows + place, source, text_column) for place, row in enumerate(chunk)]
            scored = score(fitted.method, classifier, texts, opened.cfg.evaluate.context)
            write([{**row, **found.to_row()} for row, found in zip(chunk, scored, strict=True)])
            n_rows += len(chunk)
            progress.update(len(chunk))
            chunk = list(islice(rows, CHUNK))
    return n_rows


def _text_of(row: Row, number: int, source: str | Path, column: str) -> str:
    if column not in row:
        raise UserError(f"row {number} of {source} has no {column!r}; {nearest(column, list(row))}. Set --text_column")
    taken = [name for name in RESULTS if name in row]
    if taken:
        raise UserError(f"{source} has a column {taken[0]!r} already, as a result is called; rename it")
    text = row[column]
    if not isinstance(text, str):
        raise UserError(f"row {number} of {source}: {column!r} is of type {type(text).__name__}, it must be a string")
    return text


# --- what is read ---


def _rows(source: str | Path, text_column: str) -> Iterable[Row]:
    if str(source) == STANDARD_INPUT:
        return _of_lines(sys.stdin, "standard input", text_column)
    path = Path(source)
    readers = {".jsonl": _json_lines, ".json": _json_lines, ".csv": _csv, ".parquet": _parquet}
    if not path.is_file():
        raise UserError(f"{path} is no file; give JSON lines, CSV or parquet, or - for standard input")
    if path.suffix not in readers:
        raise UserError(f"{path} has the suffix {path.suffix!r}; valid: {', '.join(readers)}")
    return readers[path.suffix](path)


def _of_lines(stream: TextIO, name: str, text_column: str) -> Iterator[Row]:
    """JSON objects, or texts as they are."""
    for number, line in enumerate(stream):
        line = line.rstrip("\n")
        if line.lstrip().startswith("{"):
            yield _object(line, number, name)
        elif line.strip():
            yield {text_column: line}


def _object(line: str, number: int, name: str | Path) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"line {number + 1} of {name} is no JSON ({error}); give an object a line") from error
    if not isinstance(row, dict):
        raise UserError(f"line {number + 1} of {name} is no JSON object; give an object a line")
    return row


def _json_lines(path: Path) -> Iterator[Row]:
    with _text_file(path) as file:
        for number, line in enumerate(file):
            if line.strip():
                yield _object(line, number, path)


def _csv(path: Path) -> Iterator[Row]:
    with _text_file(path) as file:
        for row in csv.DictReader(file):
            yield {name: value for name, value in row.items() if name is not None}


@contextmanager
def _text_file(path: Path) -> Iterator[TextIO]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as text ({error}); save it as UTF-8") from error


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow.lib
    import pyarrow.parquet

    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(CHUNK):
            yield from batch.to_pylist()
    except pyarrow.lib.ArrowException as error:
        raise UserError(f"{path} cannot be read as parquet: {error}") from error


# --- what is written ---

Write = Callable[[list[Row]], object]


def _writer(out: str | Path | None) -> Callable[[], Any]:
    """What opens the output: a context that gives a function of rows."""
    if out is None:
        return _to_standard_output
    writers = {".jsonl": _to_json_lines, ".csv": _to_csv, ".parquet": _to_parquet}
    path = Path(out)
    if path.suffix not in writers:
        raise UserError(f"--out is {path}; valid suffixes: {', '.join(writers)}")
    if path.exists() and not path.is_file():
        raise UserError(f"--out is {path}, which is no regular file; give another name")
    return lambda: writers[path.suffix](path)


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False, default=str) + "\n"


@contextmanager
def _to_standard_output() -> Iterator[Write]:
    def write(rows: list[Row]) -> None:
        sys.stdout.writelines(map(_line, rows))
        sys.stdout.flush()

    yield write


@contextmanager
def _to_json_lines(path: Path) -> Iterator[Write]:
    with new_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield lambda rows: file.writelines(map(_line, rows))


@contextmanager
def _to_csv(path: Path) -> Iterator[Write]:
    with new_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writers: list[csv.DictWriter[str]] = []

        def write(rows: list[Row]) -> None:
            if not writers:
                writers.append(csv.DictWriter(file, list(rows[0]), extrasaction="ignore"))
                writers[0].writeheader()
            writers[0].writerows({**row, "concepts": json.dumps(row["concepts"], ensure_ascii=False)} for row in rows)

        yield write


@contextmanager
def _to_parquet(path: Path) -> Iterator[Write]:
    import pyarrow
    import pyarrow.parquet

    concept = [("concept", "int64"), ("activation", "float64"), ("effect", "float64"), ("of", "string")]
    concepts = pyarrow.list_(pyarrow.struct([(name, getattr(pyarrow, kind)()) for name, kind in concept]))
    writers: list[Any] = []

    def write(rows: list[Row]) -> None:
        if not writers:
            found = pyarrow.Table.from_pylist(rows).schema
            schema = found.set(found.get_field_index("concepts"), pyarrow.field("concepts", concepts))
            writers.append(pyarrow.parquet.ParquetWriter(temporary, schema))
        writers[0].write_table(pyarrow.Table.from_pylist(rows, schema=writers[0].schema))

    with new_file(path) as temporary:
        try:
            yield write
        finally:
            for writer in writers:
                writer.close()
