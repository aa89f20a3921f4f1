"""Names that a user gave to concepts, kept in a run with the weights that they are for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sae_lens_classif.errors import UserError
from sae_lens_classif.files import read_json, sha256_of_file, write_json
from sae_lens_classif.methods.base import METHOD_FILE
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.lock import only_writer

_FILE = "names.json"
_LONGEST = 80


def name_concept(run: RunFolder, index: int, name: str, method: str = METHOD) -> None:
    """Give a concept a name, or with an empty one take it back.

    Args:
        run: The run folder; the name is kept with the weights of its method.
        index: Number of the concept.
        name: At most 80 characters, in one line.
        method: Whose concept.

    Raises:
        UserError: If the method is not fitted, or the name too long.
    """
    name = " ".join(name.split())
    if len(name) > _LONGEST:
        raise UserError(f"the name has {len(name)} characters; give one of at most {_LONGEST}")
    weights = _weights(run, method)
    if weights is None:
        raise UserError(f"{run.folder} holds no {method} that is trained; there is nothing to name yet")
    with only_writer(run.folder, "name"):
        kept = dict(_read(run))
        entry = kept.get(method, {})
        names = dict(entry["names"]) if entry.get("weights") == weights else {}
        names.pop(str(index), None)
        if name:
            names[str(index)] = name
        kept[method] = {"weights": weights, "names": names}
        write_json(run.folder / _FILE, kept)


def names_of(run: RunFolder, method: str = METHOD) -> dict[int, str]:
    """Names of a method's concepts by their numbers; those that were given for other weights are none."""
    entry = _read(run).get(method)
    if entry is None or entry["weights"] != _weights(run, method):
        return {}
    return {int(index): str(name) for index, name in entry["names"].items()}


def with_names(run: RunFolder, summary: dict[str, Any]) -> dict[str, Any]:
    """The content of ``summary.json``, with the names that a user gave."""
    if not (run.folder / _FILE).is_file():
        return summary
    for method, entry in summary["methods"].items():
        names = names_of(run, method)
        for concept in entry["concepts"]:
            concept["name"] = names.get(concept["index"], concept.get("name", ""))
    return summary


def _read(run: RunFolder) -> Mapping[str, Any]:
    file = run.folder / _FILE
    if not file.is_file():
        return {}
    content = read_json(file, "name")
    entries = content.values() if isinstance(content, dict) else [content]
    is_ours = all(isinstance(entry, dict) and {"weights", "names"} <= entry.keys() for entry in entries)
    if not is_ours:
        raise UserError(f"{file} is not what `name` writes; delete it, and name the concepts again")
    return dict(content)


def _weights(run: RunFolder, method: str) -> str | None:
    """SHA-256 of what a method learned, as its evaluations have it."""
    own, other = run.sae / "sae_weights.safetensors", run.method(method, run.cfg.compare.seeds[0]) / METHOD_FILE
    file: Path = own if method == METHOD else other
    return sha256_of_file(file) if file.is_file() else None
