"""The comparison of a run, if it is of the SAE that the run holds now."""

from collections.abc import Mapping
from typing import Any

from sae_lens_classif.evals.comparison import ComparedMethod, Difference, Estimate
from sae_lens_classif.files import read_json
from sae_lens_classif.runs.folder import METHOD, RunFolder


def read_own_comparison(run: RunFolder, entry: Mapping[str, Any]) -> tuple[ComparedMethod, ...]:
    """Read the methods that ``compare`` measured beside the run's ClassifSAE.

    Args:
        run: The run folder.
        entry: The ClassifSAE's entry of the summary.

    Returns:
        The rows, that of the ClassifSAE among them; none where nothing was compared, or with another SAE or other
        settings of the evaluation. Why a method failed is left out: it may name folders of this machine.
    """
    file = run.folder / "comparison.json"
    content = read_json(file) if file.is_file() else {"methods": {}}
    methods = tuple(_method(own) for own in content["methods"].values())
    own = next((method for method in methods if method.name == METHOD), None)
    seed = run.cfg.train.seed
    if own is None or seed not in own.seeds:
        return ()
    row = own.seeds.index(seed)
    both = [(own.estimates[name].by_seed[row], entry[name]) for name in own.estimates if entry.get(name) is not None]
    return methods if both and all(compared == measured for compared, measured in both) else ()


def _method(content: Mapping[str, Any]) -> ComparedMethod:
    return ComparedMethod(
        name=content["name"],
        title=content["title"],
        seeds=tuple(content["seeds"]),
        estimates={name: Estimate(**own) for name, own in content["estimates"].items()},
        differences={name: Difference(**own) for name, own in content["differences"].items()},
        notes=tuple(note.split("failed:")[0] + "failed" if "failed:" in note else note for note in content["notes"]),
        fit_seconds=content["fit_seconds"],
    )
