"""What a user may get wrong, as hypothesis draws it: a command line, the files beside it, standard input.

A command works in a copy of the folder that ``fuzzing.prepare`` makes: ``texts``, ``classifier``, ``settings.yaml``
and runs as far as each step brought them. No path leads out of it: what is drawn may write, replace and delete.
"""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet
import yaml
from hypothesis import strategies as st

from sae_lens_classif.config.yaml import SETTINGS

Kind = Literal["folder", "pipe", "socket", "zeros", "dangling", "loop", "absent"]
Content = bytes | Kind | Callable[[bytes], bytes]


@dataclass(frozen=True)
class File:
    """What lies at a path instead of what was there.

    Attributes:
        path: From the folder of the command.
        content: Bytes; or what it is instead of a file; or what becomes of the bytes that are there.
        about: What was changed, in words.
        is_signed: Whether it is given the checksum of what it holds now, as whoever changes it by hand can.
    """

    path: str
    content: Content
    about: str = ""
    is_signed: bool = False


@dataclass(frozen=True)
class Input:
    """What is given to the command line.

    Attributes:
        words: The arguments.
        files: What lies beside it.
        stdin: Standard input.
    """

    words: tuple[str, ...]
    files: tuple[File, ...] = ()
    stdin: bytes = b""


# --- words and values ---

_LONG = ("a" * 256, "ä" * 200, "a" * 5000, "/".join(["a" * 100] * 50), "a/" * 2100)
_WORDS = (
    "", " ", "\0", "a\0b", "\ud800", "a\udcffb", "\ufeff", "é", "𝔘nicode", "日本", "\n", "a\r\nb", "\u2028", "\u202e",
    "\x1b[31m", "[/red]", "[/]", "[bold", "[link=x]a[/link]", "[[", "]", "{", "}", "{text}", "{text}{text}", "{x}",
    "{0}", "%s", "%(x)s", "*", "?", "[a-z]", "-", "--", "-1", "~", "$HOME", ".", "..", "./", "a/../b", "nan", "null",
    "true", "1e999", "0x10", "1_000", "١", "a: b", "- a", "? x", "!!python/object/apply:os.getcwd []", "!!binary x",
    "&a [*a]", "*a", "'", '"', "#", "|", ">", "@", "`", ",", "a,b", "file://x", "hf://x", "http://127.0.0.1:1/x",
    "s3://a/b", "a/b", "owner/name", "module:Class", "json:loads", "no.such:thing", "sae:", "sae:texts", "sae:a:b",
    "CON", "text", "label", "texts", "classifier", "run", "settings.yaml", "texts/test.csv", "texts/train.parquet",
    "run/config.yaml", "run/summary.json", "bbc_news", "cpu", "cuda", "cuda:99", "mps", "classifsae", "ica",
    "random_directions",
)  # fmt: skip
words = st.one_of(
    st.sampled_from((*_WORDS, *_LONG)), st.text(max_size=12).filter(lambda word: not word.startswith("/"))
)
_INSIDE = (
    "",
    ".",
    "..",
    "a",
    "é日",
    "run",
    "texts",
    "settings.yaml",
    "odd",
    "no/such",
    "run/summary.json/x",
    "\0",
    "\ud800",
    *_LONG,
)
paths = st.sampled_from(_INSIDE)

_SMALL = (0, 1, 2, 3, -1, -7, 0.5, -0.0, 1.5, 1e-320)
_NO_AMOUNT = (float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 2**63, 2**64, -(2**63), 10**30, 10**400)
_LARGE = (2**31, 2**31 - 1, 2**32, 10**9, 10**5)
# These many things are done one after the other: what is merely large is work that somebody asked for.
_AMOUNTS = (
    "train.total_samples", "train.n_validations", "finetune.epochs", "finetune.max_steps", "finetune.n_layers",
    "finetune.lora_rank", "evaluate.n_bootstrap", "baselines.epochs", "baselines.ica_max_iter",
    "baselines.probe_max_iter", "compare.tune", "compare.seeds",
)  # fmt: skip


def numbers(setting: str = "") -> st.SearchStrategy[Any]:
    """Numbers that a setting may be given, those that it cannot be included."""
    return st.sampled_from((*_SMALL, *_NO_AMOUNT, *(() if setting in _AMOUNTS else _LARGE)))


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def values(setting: str = "") -> st.SearchStrategy[Any]:
    """What YAML and JSON can hold."""
    leaves = st.one_of(st.none(), st.booleans(), numbers(setting), words)
    inside = st.one_of(st.lists(leaves, max_size=3), st.dictionaries(words, leaves, max_size=2))
    return st.one_of(leaves, inside, st.just(_nested(40)), st.lists(inside, max_size=2))


_DEEP = (
    b"[" * 100_000,
    b"[" * 400 + b"]" * 400,
    b'{"a":' * 50_000,
    b'{"text":' + b"[" * 100_000 + b"]" * 100_000 + b',"label":0}',
)
_BYTES = (
    b"", b"\n", b"\0", b"\0" * 5000, b"\xff\xfe", b"\xff", b"\xef\xbb\xbf", b"\xef\xbb\xbf{}", b"{", b"}", b"[]",
    b"{}", b"null", b"0", b'"a"', b"NaN", b"[1,", b'{"a": 1', b'{"a": 1}{"b": 2}', "ä: ö".encode("latin-1"),
    "{}".encode("utf-16"), "text,label\na,0\n".encode("utf-16"), b"\x80\x04\x95.", b"PK\x03\x04", b"PAR1",
    b"PAR1" * 5, b"\x1f\x8b\x08\x00", b'{"a": "\\ud800"}', b"9" * 6000, b"1e999999", b"\r\r\r", b"a" * 300_000,
    b"- " * 3000 + b"a", *_DEEP,
)  # fmt: skip
_KINDS: tuple[Kind, ...] = ("folder", "pipe", "socket", "zeros", "dangling", "loop", "absent")
raw = st.one_of(st.sampled_from(_BYTES), st.binary(max_size=64))
no_files: st.SearchStrategy[Kind] = st.sampled_from(_KINDS)


# --- changes of what is there ---


def _places(content: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something lies in a content, from outside to inside."""
    found = [place]
    entries = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in entries:
        found += _places(value, (*place, key))
    return found


def _changed(content: Any, place: tuple[Any, ...], change: str, value: Any) -> Any:
    """A content in which something is another value, is missing, or has something beside it."""
    if not place:
        return (
            [content]
            if change == "drop"
            else {**content, "extra": value}
            if change == "add" and isinstance(content, dict)
            else value
        )
    inside = content
    for key in place[:-1]:
        inside = inside[key]
    if change == "drop":
        del inside[place[-1]]
    elif change == "add" and isinstance(inside, dict):
        inside[f"{place[-1]} too"] = value
    else:
        inside[place[-1]] = value
    return content


def _dump_yaml(content: Any) -> str:
    return yaml.safe_dump(content, allow_unicode=True)


@st.composite
def structures(draw: st.DrawFn, path: str) -> File:
    """A JSON or YAML file of right syntax and wrong shape."""
    pick, change = draw(st.integers(0, 2**16)), draw(st.sampled_from(("set", "set", "set", "drop", "add")))
    outside = draw(st.booleans())  # most of a file is deep inside
    value = draw(values())
    is_json = path.endswith("json")
    read, dump = (json.loads, json.dumps) if is_json else (yaml.safe_load, _dump_yaml)

    def apply(before: bytes) -> bytes:
        try:
            content = read(before)
        except ValueError:
            return before
        places = [place for place in _places(content) if not outside or len(place) <= 2]
        place = places[pick % len(places)]
        return dump(_changed(content, place, change, value)).encode("utf-8", "surrogatepass")

    is_signed = is_json and draw(st.booleans())
    about = f"{change} at {pick}{' outside' if outside else ''}{', signed' if is_signed else ''}: {value!r}"
    return File(path, apply, about[:300], is_signed)


@st.composite
def cuts(draw: st.DrawFn, path: str) -> File:
    """A file that is cut short, has another byte or something at its end."""
    pick, change, odd = draw(st.integers(0, 2**20)), draw(st.sampled_from(("cut", "byte", "end", "begin"))), draw(raw)

    def apply(before: bytes) -> bytes:
        place = pick % (len(before) + 1)
        parts = {
            "cut": before[:place],
            "byte": before[:place] + bytes([pick % 256]) + before[place + 1 :],
            "end": before + odd,
            "begin": odd + before,
        }
        return parts[change]

    return File(path, apply, f"{change} at {pick} {odd[:40]!r}")


def changes(path: str) -> st.SearchStrategy[File]:
    """Whatever may be wrong with a file that is there."""
    ways = [cuts(path), raw.map(lambda content: File(path, content)), no_files.map(lambda kind: File(path, kind))]
    if path.endswith((".json", ".yaml")):
        ways += [structures(path)] * 4
    return st.one_of(ways)


# --- texts in files ---

_TEXTS: tuple[Any, ...] = (
    "a dog and a cat", "rain and snow", "a bank and a loan", "", " ", "\0", "\u202e", "[/red]", "<script>", "{text}",
    "␞", "a" * 20_000, "word " * 3000, '"', "'", ",", "\n", "=1+1", "\x1b[31m", None, 0, 1.5, True, [], {}, ["a"],
    {"a": 1}, float("nan"),
)  # fmt: skip
_LABELS: tuple[Any, ...] = (
    0,
    1,
    2,
    3,
    -1,
    2**40,
    2**70,
    0.5,
    1.0,
    float("nan"),
    float("inf"),
    None,
    "",
    "animals",
    "[/red]",
    "0",
    True,
    [],
    [0],
    ["a"],
    [None],
    {},
)
_GOOD = [{"text": text, "label": number % 3} for number, text in enumerate(_TEXTS[:3] * 8)]
_COLUMNS = (
    "text",
    "label",
    "",
    "Text",
    "predicted",
    "concepts",
    "concept",
    "[/red]",
    "a\0b",
    "é",
    "idx",
    "__index_level_0__",
    "x" * 300,
)
_SUFFIXES = (".csv", ".jsonl", ".json", ".parquet", ".arrow", ".txt", "", ".CSV")


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows with some that are odd."""
    rows = [dict(row) for row in draw(st.sampled_from((_GOOD, _GOOD, _GOOD[:1], _GOOD[:2], _GOOD[::3], [])))]
    for _ in range(draw(st.integers(0, 3)) if rows else 0):
        row = rows[draw(st.integers(0, len(rows) - 1))]
        column = draw(st.sampled_from(("text", "label", *_COLUMNS)))
        row[column] = draw(st.sampled_from(_LABELS if column == "label" else _TEXTS))
    dropped, named = draw(st.sampled_from(("", "", "", "text", "label"))), draw(st.sampled_from(("", "", *_COLUMNS)))
    if dropped:
        rows = [{named or name: value for name, value in row.items() if name != dropped or named} for row in rows]
    return rows


def _csv(rows: list[dict[str, Any]]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([row.get(name, "") for name in names] for row in rows)]
    return "\n".join(",".join(str(cell) for cell in line) for line in cells).encode("utf-8", "surrogatepass")


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns: dict[str, Any] = {}
    for name in names:
        column = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(column)
        except (pa.ArrowException, OverflowError):
            columns[name] = pa.array([None if value is None else str(value) for value in column])
    table = pa.table(columns)
    try:
        pyarrow.parquet.write_table(table, file)
    except pa.ArrowException:  # as of structs without a field
        return b"PAR1"
    return file.getvalue()


def _serialized(rows: list[dict[str, Any]], how: str) -> bytes:
    if how == "parquet":
        return _parquet(rows)
    if how == "csv":
        return _csv(rows)
    if how == "json":
        return json.dumps(rows).encode()
    if how == "columns":
        return json.dumps({name: [row.get(name) for row in rows] for name in (rows[0] if rows else ())}).encode()
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, Content]:
    """A suffix and the content of a file of texts, which is mostly one of that suffix."""
    suffix = draw(st.sampled_from((*_SUFFIXES[:4] * 3, *_SUFFIXES)))
    how = {".csv": "csv", ".json": "json", ".parquet": "parquet"}.get(suffix, "lines")
    how = draw(st.sampled_from((how,) * 6 + ("csv", "json", "columns", "lines", "parquet")))
    content: Content = _serialized(draw(tables()), how)
    damage = draw(
        st.sampled_from(
            ("none",) * 6 + ("cut", "raw", "before", "after", "latin", "bom", "nul", "quote", "kind", "deep")
        )
    )
    assert isinstance(content, bytes)
    middle = len(content) // 2
    damaged: dict[str, Content] = {
        "none": content,
        "cut": content[: draw(st.integers(0, len(content)))],
        "raw": draw(raw),
        "before": draw(raw) + b"\n" + content,
        "after": content + b"\n" + draw(raw),
        "latin": content[:middle] + b"\xe4" + content[middle:],
        "bom": b"\xef\xbb\xbf" + content,
        "nul": content[:middle] + b"\0" + content[middle:],
        "quote": content[:middle] + b'"' + content[middle:],
        "kind": draw(no_files),
        "deep": content + b"\n" + draw(st.sampled_from(_DEEP)) + b"\n",
    }
    return suffix, damaged[damage]


# --- command lines ---

_IN_RUN = (
    "config.yaml", "summary.json", "comparison.json", "names.json", "stability.json", "activations/train/manifest.json",
    "activations/test/manifest.json", "saes/classifsae/cfg.json", "saes/classifsae/runner_cfg.json",
    "evals/classifsae/completeness.json", "evals/classifsae/causality.json", "methods/classifsae/seed-1/method.json",
    "methods/classifsae/seed-1/trials.json", "methods/classifsae/seed-1/classif_sae/cfg.json",
    "methods/classifsae/seed-1/fit.json", "methods/ica/seed-0/method.json", "methods/ica/seed-0/fit.json",
    "evals/ica/seed-0/completeness.json", "sweep/sweep.json",
)  # fmt: skip
_DATA_IN_RUN = (
    "activations/train/shard_00000.safetensors", "activations/test/shard_00000.safetensors",
    "saes/classifsae/sae_weights.safetensors", "saes/classifsae/training_log.jsonl",
    "evals/classifsae/completeness.safetensors", "evals/classifsae/effects.safetensors",
    "methods/ica/seed-0/method.safetensors", "comparison.md",
)  # fmt: skip
_NOTE = "classifier.json"
_IN_CLASSIFIER = (_NOTE, "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
CHANGED = (  # files that must be there to be changed
    *(f"run/{name}" for name in (*_IN_RUN, *_DATA_IN_RUN)),
    *(f"classifier/{name}" for name in _IN_CLASSIFIER),
    *(f"bare/{name}" for name in _IN_CLASSIFIER if name != _NOTE),
)
_READING = (
    ("evaluate", "--run", "run"),
    ("compare", "--run", "run"),
    ("explain", "run", "a dog and a cat"),
    ("report", "run", "--explained", "0"),
    ("report", "run", "--explained", "0", "--method", "ica"),
    ("publish", "run", "me/it", "--dry-run"),
    ("publish", "run", "me/it", "--dry-run", "--method", "ica"),
    ("score", "run", "texts/test.csv", "--out", "scored.jsonl"),
    ("name", "run", "0", "a name"),
    ("name", "run", "0", "a name", "--method", "ica"),
    ("stability", "run", "--seeds", "2"),
    ("diff", "run", "other"),
    ("diff", "other", "run", "--method", "ica"),
    ("across", "run", "other", "--out", "across"),
    ("cache", "--run", "run"),
    ("train", "--run", "run"),
    ("evaluate", "--run", "run", "--data", "texts"),
    ("sweep", "--run", "run"),
    ("run", "--run", "run"),
)
_STAGES = (
    ("cache", "--run", "new"),
    ("train", "--run", "cached"),
    ("evaluate", "--run", "trained"),
    ("compare", "--run", "trained"),
)
_STEPS = ("finetune", "cache", "train", "evaluate", "run", "compare", "sweep")


@st.composite
def of_run_folders(draw: st.DrawFn) -> Input:
    """A file of a run folder is not what it was."""
    name = draw(st.sampled_from((*_IN_RUN, *_IN_RUN, *_DATA_IN_RUN)))
    return Input(draw(st.sampled_from(_READING)), (draw(changes(f"run/{name}")),))


@st.composite
def of_classifiers(draw: st.DrawFn) -> Input:
    """A file of the model's folder is not what it was."""
    folder = draw(st.sampled_from(("classifier", "bare")))
    name = draw(st.sampled_from(_IN_CLASSIFIER))
    command = draw(st.sampled_from((("cache", "--run", "new"), ("explain", "run", "a dog"))))
    options = ("--config", "settings.yaml", "--classifier.model", folder) if command[0] == "cache" else ()
    return Input((*command, *options), (draw(changes(f"{folder}/{name}")),))


_DATA_OPTIONS = (
    (), (), ("--data.class_names", "a,b,c"), ("--data.class_names", "a,a,a"), ("--data.text_column", "é"),
    ("--data.label_columns", "label,text"), ("--data.text_pair_column", "label"), ("--data.test_share", "1"),
)  # fmt: skip


@st.composite
def of_data(draw: st.DrawFn) -> Input:
    """Texts of all kinds, in a folder or a single file."""
    suffix, content = draw(texts())
    name = draw(st.sampled_from(("data/train", "data/test", "data/[x]", "data/[/red]", "data/é日 x", "data/*")))
    single = not name.endswith(("train", "test"))
    other = ("data/test.csv",) if name == "data/train" else ("data/train.csv",) if name == "data/test" else ()
    files = [File(f"{name}{suffix}", content), *(File(path, _csv(_GOOD)) for path in other)]
    source = f"{name}{suffix}" if single else "data"
    options = draw(st.sampled_from(_DATA_OPTIONS))
    if draw(st.booleans()):
        return Input(
            (
                "cache",
                "--run",
                "new",
                "--config",
                "settings.yaml",
                "--data.class_names",
                "null",
                "--data.source",
                source,
                *options,
            ),
            tuple(files),
        )
    return Input(("evaluate", "--run", "run", "--data", source), tuple(files))


@st.composite
def of_scores(draw: st.DrawFn) -> Input:
    """Texts that are to be scored, in a file or from standard input."""
    suffix, content = draw(texts())
    out = draw(
        st.sampled_from(
            (
                (),
                ("--out", "o.jsonl"),
                ("--out", "o.csv"),
                ("--out", "o.parquet"),
                ("--out", "run"),
                ("--out", "o.txt"),
                ("--out", "no/such/o.csv"),
                ("--out", "settings.yaml/o.csv"),
                ("--out", "\0.csv"),
                ("--out", "a" * 300 + ".csv"),
                ("--out", "\ud800.jsonl"),
            )
        )
    )
    column = draw(
        st.sampled_from(((), (), (), ("--text_column", "label"), ("--text_column", "[/red]"), ("--text_column", "")))
    )
    if isinstance(content, bytes) and draw(st.booleans()):
        return Input(("score", "run", "-", *out, *column), stdin=content)
    name = draw(st.sampled_from(("in", "in", "é日", "[x]", "a b")))
    return Input(("score", "run", f"{name}{suffix}", *out, *column), (File(f"{name}{suffix}", content),))


@st.composite
def of_options(draw: st.DrawFn) -> Input:
    """One or two settings with values of all kinds, as options."""
    options: list[str] = []
    for setting in draw(st.lists(st.sampled_from(sorted(SETTINGS)), min_size=1, max_size=2)):
        value = draw(st.one_of(numbers(setting), words, values(setting).map(lambda value: json.dumps(value)[:3000])))
        options += [f"--{setting}={value}"] if draw(st.booleans()) else [f"--{setting}", str(value)[:5000]]
    return Input((*draw(st.sampled_from(_STAGES)), "--config", "settings.yaml", *options))


@st.composite
def of_settings_files(draw: st.DrawFn) -> Input:
    """A YAML file with settings of all kinds."""
    bombs = (
        _ALIASES,
        _ALIASES.replace(b"a0", b"data", 1),
        b"&a [*a]",
        b"data: &d {source: *d}",
        b"sae: {k: &k 3, n_concepts: *k}",
    )
    setting = draw(st.sampled_from(sorted(SETTINGS)))
    section, _, name = setting.partition(".")
    one = values(setting).map(lambda value: _dump_yaml({section: {name: value}}).encode("utf-8", "surrogatepass"))
    content: Content = draw(
        st.one_of(
            one,
            one,
            one,
            raw,
            no_files,
            st.sampled_from(bombs),
            values().map(_dump_yaml).map(lambda text: text.encode("utf-8", "surrogatepass")),
        )
    )
    path = draw(st.sampled_from(("odd.yaml", "odd.yaml", "é日.yaml", "odd")))
    return Input(
        (*draw(st.sampled_from(_STAGES)), "--config", "settings.yaml", "--config", path), (File(path, content),)
    )


_ALIASES = b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10)
)
_BOMB = (
    "train.seed=[&a [1], "
    + ", ".join(f"&{after} [{','.join([f'*{name}'] * 8)}]" for name, after in pairwise("abcdefgh"))
    + "]"
)
_GRIDS = (
    "sae.gamma=0.05", "train.seed=0,1", "sae.gamma=", "=1", "", "sae.gamma=[0.1],0.2", "sae.gamma=nan",
    "sae.gamma=1e999,2", "train.seed=-1", "data.source=[/red]", "sae.k=1,2,99", "train.lr=.inf", "sweep.grid=1",
    "data=1", "sae.gamma=" + "[" * 100_000, "sae.gamma=" + "[" * 300 + "]" * 300, "sae.gamma=&a [*a]",
    "train.seed=" + ",".join(map(str, range(30000))), "sae.gamma=0.1,0.10", "classifier.hook=blocks.9.x", "sae.k=\0",
    "sae.k=\ud800",
    _BOMB,
)  # fmt: skip


@st.composite
def of_grids(draw: st.DrawFn) -> Input:
    """Grids of a sweep."""
    grids = draw(st.lists(st.one_of(st.sampled_from(_GRIDS), words), min_size=1, max_size=3))
    many = [
        f"sae.{name}={','.join(map(str, range(1, 80)))}"
        for name in ("k", "n_concepts", "d_sae", "model_rows", "model_every")
    ]
    if draw(st.integers(0, 40)) == 17:
        grids = many
    return Input(
        (
            "sweep",
            "--run",
            "cached",
            "--config",
            "settings.yaml",
            *(word for grid in grids for word in ("--grid", grid)),
        )
    )


@st.composite
def of_arguments(draw: st.DrawFn) -> Input:
    """Commands whose own arguments are anything."""

    def word() -> str:
        return draw(words)

    def number() -> str:
        return draw(st.one_of(numbers("compare.seeds").map(str), words))

    def place() -> str:
        return draw(st.one_of(st.just("run"), paths))

    def one_of(*words: str) -> str:
        return draw(st.sampled_from(words))

    lines: dict[str, Callable[[], tuple[str, ...]]] = {
        "explain": lambda: ("explain", place(), word(), *((word(),) if draw(st.booleans()) else ())),
        "explain as a page": lambda: ("explain", "run", "a dog and a cat", "--html", draw(paths)),
        "explain a method": lambda: ("explain", "run", "a dog", "--method", word()),
        "name": lambda: ("name", place(), number(), word()),
        "name well": lambda: ("name", "run", "0", word()),
        "report": lambda: ("report", place(), "--out", draw(paths), "--explained", number()),
        "report by": lambda: ("report", "run", "--explained", "0", "--by", word(), "--note", word()),
        "report a method": lambda: ("report", "run", "--method", word()),
        "publish": lambda: ("publish", place(), word(), "--dry-run"),
        "publish well": lambda: ("publish", "run", "me/it", "--dry-run", "--license", word()),
        "stability": lambda: ("stability", place(), "--seeds", number(),
                              "--method", one_of("ica", "random_directions", "", "\0", "a/b", "..")),
        "diff": lambda: ("diff", place(), place(), "--method", word()),
        "across": lambda: ("across", place(), place(), "--out", draw(paths), "--against", word()),
        "across well": lambda: ("across", "run", "other", "--out", draw(paths)),
        "score": lambda: ("score", place(), draw(paths), "--out", draw(paths), "--text_column", word()),
        "step": lambda: (one_of(*_STEPS), "--run", draw(paths), "--config", draw(paths)),
        "step with a preset": lambda: (one_of(*_STEPS), "--preset", word()),
        "elsewhere": lambda: ("evaluate", "--run", "run", "--data", word(),
                              "--method", one_of("classifsae", "ica", "\0")),
        "anything": lambda: tuple(draw(st.lists(words, max_size=4))),
        "option": lambda: (one_of(*_STEPS), f"--{word()}", word()),
        "methods": lambda: ("compare", "--run", "run", "--compare.methods", word()),
        "model": lambda: ("cache", "--run", "new", "--config", "settings.yaml", "--classifier.model", word()),
        "source": lambda: ("cache", "--run", "new", "--config", "settings.yaml", "--data.source", word()),
        "new run": lambda: ("cache", "--config", "settings.yaml", "--run", draw(st.one_of(paths, words))),
    }  # fmt: skip
    command = lines[draw(st.sampled_from(sorted(lines)))]()
    odd = draw(st.sampled_from((None, None, *_KINDS)))
    return Input(command, (File("odd", odd),) if odd is not None else (), draw(raw) if "-" in command else b"")


@st.composite
def of_marked_texts(draw: st.DrawFn) -> Input:
    """Names of data sets, classes and columns that what prints them may take for markup."""
    name = draw(
        st.sampled_from(
            ("[/red]", "[bold]", "[link=x]", "a [/] b", "\\[/red]", "[red", "é日", "\x1b[31m", "a\nb", "%s {x}")
        )
    )
    rows = [{**row, "label": f"{name}{row['label']}"} for row in _GOOD]
    files = (
        File(f"{name}/train.csv", _csv(_GOOD)),
        File(f"{name}/test.csv", _csv(rows if draw(st.booleans()) else _GOOD)),
    )
    lines = (
        ("evaluate", "--run", "run", "--data", name),
        ("run", "--run", name, "--config", "settings.yaml"),
        ("evaluate", "--run", "trained", "--config", "settings.yaml"),
        ("run", "--run", "new", "--config", "settings.yaml", "--data.source", name, "--data.class_names", "null"),
        ("across", "run", "other", "--out", f"{name}-out"),
        ("explain", "run", f"{name} dog", "--html", f"{name}.html"),
        ("name", "run", "0", name),
        ("score", "run", f"{name}/test.csv", "--out", f"{name}.csv"),
        ("report", "run", "--explained", "0", "--out", f"{name}.html"),
    )  # fmt: skip
    return Input(draw(st.sampled_from(lines)), files)


def inputs() -> st.SearchStrategy[Input]:
    """Everything."""
    often = (of_run_folders(), of_arguments(), of_options())
    return st.one_of(
        *often,
        *often,
        of_settings_files(),
        of_data(),
        of_scores(),
        of_grids(),
        of_marked_texts(),
        of_classifiers(),
        of_settings_files(),
        of_data(),
        of_scores(),
    )
