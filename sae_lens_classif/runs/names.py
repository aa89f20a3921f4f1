"""Names that a user gave to concepts, kept in a run with the weights that they are for."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sae_lens_classif.checksums import sha256_of_file, write_json
from sae_lens_classif.errors import UserError
from sae_lens_classif.methods.base import METHOD_FILE
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.lock import only_writer
from sae_lens_classif.shapes import read_shape

_FILE = "names.json"
_LONGEST = 80


class _Named(BaseModel, extra="forbid"):
    """Names by the numbers of their concepts, and the SHA-256 of the weights that they are for."""

    weights: str
    names: dict[int, str]


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
        kept = _read(run)
        known = kept.get(method)
        names = dict(known.names) if known is not None and known.weights == weights else {}
        names.pop(index, None)
        if name:
            names[index] = name
        kept[method] = _Named(weights=weights, names=names)
        write_json(run.folder / _FILE, {of: entry.model_dump(mode="json") for of, entry in kept.items()})


def names_of(run: RunFolder, method: str = METHOD) -> dict[int, str]:
    """Names of a method's concepts by their numbers; those that were given for other weights are none."""
    known = _read(run).get(method)
    return dict(known.names) if known is not None and known.weights == _weights(run, method) else {}


def with_names(run: RunFolder, summary: dict[str, Any]) -> dict[str, Any]:
    """The content of ``summary.json``, with the names that a user gave."""
    if not (run.folder / _FILE).is_file():
        return summary
    for method, entry in summary["methods"].items():
        names = names_of(run, method)
        for concept in entry["concepts"]:
            concept["name"] = names.get(concept["index"], concept.get("name", ""))
    return summary


def _read(run: RunFolder) -> dict[str, _Named]:
    file = run.folder / _FILE
    if not file.is_file():
        return {}
    named: dict[str, _Named] = read_shape(dict[str, _Named], file, "`name`", "delete it, and name the concepts again")
    return named


def _weights(run: RunFolder, method: str) -> str | None:
    """SHA-256 of what a method learned, as its evaluations have it."""
    own, other = run.sae / "sae_weights.safetensors", run.method(method, run.cfg.compare.seeds[0]) / METHOD_FILE
    file: Path = own if method == METHOD else other
    return sha256_of_file(file) if file.is_file() else None
