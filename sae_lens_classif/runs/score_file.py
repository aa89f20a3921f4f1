"""``score``: a file of texts, row by row in bounded memory, with the class and the active concepts of each."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from tqdm.auto import tqdm

from sae_lens_classif.checksums import parse_json
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.evals.results import finite
from sae_lens_classif.explaining.scoring import CHUNK, score
from sae_lens_classif.files import check_output, new_file
from sae_lens_classif.reading import is_text
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.names import names_of
from sae_lens_classif.runs.run_classifier import open_checked_classifier
from sae_lens_classif.runs.run_method import load_fitted

Row = dict[str, Any]
RESULTS = ("predicted", "probability", "through_concepts", "concepts")
STANDARD_INPUT = "-"
_ERRORS = "backslashreplace"  # half a character, in a column beside the texts, as JSON has it: \ud800


def score_file(
    run: str | Path,
    source: str | Path,
    out: str | Path | None = None,
    text_column: str = "text",
    method: str = METHOD,
    allow_code: str | Iterable[str] = (),
) -> int:
    """Score the texts of a file; its other columns are kept.

    Args:
        run: A run folder, trained.
        source: JSON lines, CSV or parquet by its suffix; ``-`` for standard input, a text or a JSON object a line.
        out: JSON lines, CSV (concepts as JSON) or parquet by its suffix. Default: JSON lines to standard output.
        text_column: Which column holds the texts.
        method: Whose concepts.
        allow_code: A name of code that the run's settings may name, ``module:attribute``, or several; it is run.

    Returns:
        How many texts there were.

    Raises:
        UserError: If the file or the column is missing, or one has the name of a result.
    """
    opened = RunFolder.open(run, allow_code=allow_code)
    write_to = _writer(out, source)  # or refused, before any work
    rows = iter(_rows(source, text_column))
    first = list(islice(rows, CHUNK))
    if not first:
        raise UserError(f"{source} holds no row; give a file with at least one text")
    fitted, classifier = load_fitted(opened, method), open_checked_classifier(opened)
    n_rows, names = 0, names_of(opened, fitted.name)
    with write_to() as write, tqdm(total=_n_rows(source), desc="Scoring", unit=" texts", delay=1) as progress:
        chunk = first
        while chunk:
            texts = [_text_of(row, n_rows + place, source, text_column) for place, row in enumerate(chunk)]
            scored = score(fitted.method, classifier, texts, opened.cfg.evaluate.context, names)
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
    if not is_text(text):
        raise UserError(f"row {number} of {source}: {column!r} holds half a character, which is no text; save as UTF-8")
    return text


# --- what is read ---


def _rows(source: str | Path, text_column: str) -> Iterable[Row]:
    if str(source) == STANDARD_INPUT:
        if sys.stdin is None:
            raise UserError("standard input is closed; give a file, or texts on standard input")
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8-sig")  # whatever the locale
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
    for number, line in enumerate(_lines(stream, name)):
        line = line.rstrip("\n")
        if line.lstrip().startswith("{"):
            yield _object(line, number, name)
        elif line.strip():
            yield {text_column: line}


def _lines(stream: TextIO, name: str) -> Iterator[str]:
    try:
        yield from stream
    except UnicodeDecodeError as error:
        raise UserError(f"{name} cannot be read as text ({error}); give UTF-8") from error


def _object(line: str, number: int, name: str | Path) -> Row:
    try:
        row = parse_json(line)
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
    csv.field_size_limit(2**31 - 1)  # a text may be longer than Python's limit
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read as text ({error}); save it as UTF-8") from error
    except csv.Error as error:
        raise UserError(f"{path} cannot be read as CSV: {error}") from error


def _n_rows(source: str | Path) -> int | None:
    """How many there are, where that is known before they are read."""
    if Path(source).suffix != ".parquet":
        return None
    import pyarrow.parquet

    return int(pyarrow.parquet.read_metadata(source).num_rows)


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow.lib
    import pyarrow.parquet

    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(CHUNK):
            yield from batch.to_pylist()
    except (pyarrow.lib.ArrowException, ArithmeticError, LookupError, ValueError) as error:
        # Of the others, as of words that are no UTF-8, or a time that no calendar has, Python complains.
        raise UserError(f"{path} cannot be read as parquet: {error}") from error


# --- what is written ---

Write = Callable[[list[Row]], object]


def _writer(out: str | Path | None, source: str | Path) -> Callable[[], Any]:
    """What opens the output: a context that gives a function of rows."""
    if out is None:
        return _to_standard_output
    path = Path(out)
    writers: dict[str, Callable[[], Any]] = {
        ".jsonl": lambda: _to_json_lines(path),
        ".csv": lambda: _to_csv(path),
        ".parquet": lambda: _to_parquet(path, Path(source)),
    }
    if path.suffix not in writers:
        raise UserError(f"--out is {path}; valid suffixes: {', '.join(writers)}")
    check_output(path)
    return writers[path.suffix]


def _line(row: Row) -> str:
    return json.dumps(finite(row), ensure_ascii=False, allow_nan=False, default=str) + "\n"


def _columns(rows: list[Row]) -> list[str]:
    """Names of all columns, in the order in which they come; the results last."""
    given = dict.fromkeys(name for row in rows for name in row if name not in RESULTS)
    return [*given, *RESULTS]


def _check_columns(rows: list[Row], known: Sequence[str]) -> None:
    new = [name for name in _columns(rows) if name not in known]
    if new:
        raise UserError(
            f"the column {new[0]!r} comes up after the first {CHUNK:,} rows, where a table has its columns already; "
            "write JSON lines (--out FILE.jsonl)"
        )


@contextmanager
def _to_standard_output() -> Iterator[Write]:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors=_ERRORS)

    def write(rows: list[Row]) -> None:
        sys.stdout.writelines(map(_line, rows))
        sys.stdout.flush()

    yield write


@contextmanager
def _to_json_lines(path: Path) -> Iterator[Write]:
    with new_file(path) as temporary, temporary.open("w", encoding="utf-8", errors=_ERRORS) as file:
        yield lambda rows: file.writelines(map(_line, rows))


@contextmanager
def _to_csv(path: Path) -> Iterator[Write]:
    with new_file(path) as temporary, temporary.open("w", encoding="utf-8", errors=_ERRORS, newline="") as file:
        names: list[str] = []

        def write(rows: list[Row]) -> None:
            writer = csv.DictWriter(file, names or _columns(rows))
            if not names:
                names.extend(writer.fieldnames)
                writer.writeheader()
            _check_columns(rows, names)
            writer.writerows({**row, "concepts": json.dumps(row["concepts"], ensure_ascii=False)} for row in rows)

        yield write


@contextmanager
def _to_parquet(path: Path, source: Path) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet

    numbers = {"concept": pa.int64(), "activation": pa.float64(), "effect": pa.float64()}
    concept = {**numbers, "of": pa.string(), "name": pa.string()}
    results = {
        "predicted": pa.string(),
        "probability": pa.float64(),
        "through_concepts": pa.string(),
        "concepts": pa.list_(pa.struct(list(concept.items()))),
    }
    writers: list[Any] = []

    def write(rows: list[Row]) -> None:
        if not writers:
            if source.suffix == ".parquet":
                given = {field.name: field.type for field in pyarrow.parquet.read_schema(source)}
            else:
                names = [name for name in _columns(rows) if name not in RESULTS]
                given = {name: pa.array([row.get(name) for row in rows]).type for name in names}
            writers.append(pyarrow.parquet.ParquetWriter(temporary, pa.schema({**given, **results})))
        schema = writers[0].schema
        _check_columns(rows, schema.names)
        try:
            columns = [pa.array([row.get(field.name) for row in rows]).cast(field.type) for field in schema]
        except pa.ArrowException as error:
            raise UserError(
                f"a column is of another type than in the first {CHUNK:,} rows ({error}); "
                "write JSON lines (--out FILE.jsonl)"
            ) from error
        writers[0].write_table(pa.Table.from_arrays(columns, schema=schema))

    with new_file(path) as temporary:
        try:
            yield write
        except (pa.ArrowException, UnicodeEncodeError) as error:
            raise UserError(f"the columns cannot be written as parquet ({error}); write JSON lines") from error
        finally:
            for writer in writers:
                writer.close()
