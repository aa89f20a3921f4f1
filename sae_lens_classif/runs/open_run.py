"""A finished run as one object, for Python and notebooks: what is in its folder, opened when it is first asked for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from html import escape
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, overload

import torch
from typing_extensions import override

from sae_lens_classif.data.given import texts_of
from sae_lens_classif.data.texts import Split, TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.base import activations_of
from sae_lens_classif.evals.comparison import ComparedMethod
from sae_lens_classif.evals.concept_effects import ConceptEffects
from sae_lens_classif.evals.evaluate import Concept, Evaluation
from sae_lens_classif.evals.measures import columns
from sae_lens_classif.explaining.explain import explain
from sae_lens_classif.explaining.explanation import Explanation
from sae_lens_classif.explaining.scoring import score
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.methods.base import ConceptMethod
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.names import name_concept, names_of
from sae_lens_classif.runs.results import (
    Sweep,
    SweepRow,
    read_effects,
    read_measures,
    read_methods,
    read_summary,
    read_sweep,
)
from sae_lens_classif.runs.run_classifier import open_checked_classifier
from sae_lens_classif.runs.run_method import RunMethod, current_entry, load_fitted
from sae_lens_classif.saes.classif_sae import ClassifSAE
from sae_lens_classif.store.store import ActivationStore
from sae_lens_classif.tables import Table
from sae_lens_classif.wording import class_of_concept, number

if TYPE_CHECKING:
    import pandas as pd

_DENSE_CELLS = 1_000_000  # texts times concepts; above that the columns are sparse
_N_SHOWN = 8


def open_run(folder: str | Path, method: str = METHOD, *, allow_code: str | Iterable[str] = ()) -> "Run":
    """Open a run that was made before.

    Args:
        folder: The run folder.
        method: Whose concepts: the run's ClassifSAE, or a method that ``compare`` fitted, with the first of its seeds.
        allow_code: A name of code that the folder's settings may name, ``module:attribute``, or several; it is run.

    Raises:
        UserError: If the folder holds no run.
    """
    return Run(RunFolder.open(folder, allow_code=allow_code), method)


class Run:
    """A run; see ``open_run``. Nothing is loaded before it is asked for, and nothing is computed that is known.

    Attributes:
        folder: Its folder.
        cfg: Its settings.
    """

    def __init__(self, run: RunFolder, method: str = METHOD) -> None:
        """
        Args:
            run: The run folder.
            method: Whose concepts.
        """
        self.folder, self.cfg = run.folder, run.cfg
        self._run, self._method_name = run, method
        self._stores: dict[Split, ActivationStore] = {}
        self._texts: dict[Split, TextData] = {}

    @cached_property
    def classifier(self) -> TextClassifier:
        """The model that is explained."""
        return open_checked_classifier(self._run)

    @cached_property
    def _fitted(self) -> RunMethod:
        return load_fitted(self._run, self._method_name)

    @property
    def method_name(self) -> str:
        """Name of the method whose concepts these are, as ``compare`` has it."""
        return self._fitted.name

    @property
    def title(self) -> str:
        """How tables and figures call the method."""
        return self._fitted.title

    @property
    def method(self) -> ConceptMethod:
        """What finds the concepts in hidden states."""
        return self._fitted.method

    @property
    def sae(self) -> ClassifSAE:
        """The run's ClassifSAE.

        Raises:
            UserError: If the run was opened with another method.
        """
        sae = self.method.autoencoder()
        if not isinstance(sae, ClassifSAE):
            raise UserError(
                f"the method {self._fitted.name} is no ClassifSAE; open the run without method, or use .method"
            )
        return sae

    def states(self, split: Split = "test") -> ActivationStore:
        """Hidden states of ``train`` or ``test``."""
        if split not in self._stores:
            self._stores[split] = ActivationStore(self._run.activations(_checked(split)))
        return self._stores[split]

    def texts(self, split: Split = "test") -> TextData:
        """The texts of ``train`` or ``test``, with their labels.

        Raises:
            UserError: If they are others than those that the hidden states were made from.
        """
        if split not in self._texts:
            data = self._run.texts(_checked(split))
            if self._run.activations(split).is_dir() and data.fingerprint() != self.states(split).fingerprints.data:
                raise UserError(
                    f"the {split} texts of {self.cfg.data.source} are others than those that {self.folder} was made "
                    "from; put them back, or make the run again (--overwrite)"
                )
            self._texts[split] = data
        return self._texts[split]

    @cached_property
    def summary(self) -> Mapping[str, Any]:
        """Content of ``summary.json``."""
        return read_summary(self._run)

    @cached_property
    def _entry(self) -> Mapping[str, Any]:
        return current_entry(self._run, self._fitted, self.states(), self.summary)

    @cached_property
    def evaluation(self) -> Evaluation:
        """What was measured on the test texts."""
        settings = self._entry["settings_sha256"]
        return Evaluation(
            measures=read_measures(self._fitted.evaluations, settings),
            concepts=tuple(map(_concept, self._entry["concepts"])),
            warnings=tuple(self._entry["warnings"]),
            effects=self._effects,
        )

    @cached_property
    def _effects(self) -> ConceptEffects | None:
        return read_effects(self._fitted.evaluations, self._entry["settings_sha256"])

    @cached_property
    def concepts(self) -> "Concepts":
        """The living concepts, the most influential first; ``run.concepts[12]`` is concept number 12."""
        described = [
            RunConcept(_concept(entry), self.texts().texts, self._effects_on_classes(entry["index"]))
            for entry in self._entry["concepts"]
        ]
        return Concepts(described)

    def _effects_on_classes(self, index: int) -> dict[str, float]:
        if self._effects is None:
            return {}
        return dict(zip(self.states().class_names, self._effects.by_class[index].tolist(), strict=True))

    @cached_property
    def comparison(self) -> "MethodsTable":
        """What ``compare`` found."""
        return MethodsTable(tuple(read_methods(self._run).methods.values()))

    @cached_property
    def sweep(self) -> "SweepTable":
        """What ``sweep`` found, cell by cell."""
        return SweepTable(read_sweep(self._run))

    @cached_property
    def mistakes(self) -> "MistakesTable":
        """The wrongly decided test texts, with the concept that misled the model, where there is one."""
        names = {concept["index"]: concept.get("name", "") for concept in self._entry["concepts"]}
        return MistakesTable(self.states(), self.texts(), self._effects, names)

    def activations(self, split: Split = "test", named: bool = False) -> "pd.DataFrame":
        """How active each concept is on each text: a row a text, a column a concept.

        Where there are many of both the columns are sparse.

        Args:
            split: Of which texts.
            named: Whether a column is called by the number and the name that it was given, as ``"12 stock market"``,
                instead of by the number alone.
        """
        import pandas as pd

        found = activations_of(self.method, self.states(split).read("hidden").float())
        frame = pd.DataFrame(found.numpy())
        if named:
            frame.columns = [f"{index} {self.given_names.get(index, '')}".rstrip() for index in frame.columns]
        frame = frame.rename_axis(index="text", columns="concept")
        return frame if found.numel() <= _DENSE_CELLS else frame.astype(pd.SparseDtype("float32", 0.0))

    @overload
    def explain(self, text: str) -> Explanation: ...

    @overload
    def explain(self, text: Any) -> list[Explanation]: ...

    def explain(self, text: Any) -> Explanation | list[Explanation]:
        """Why a text gets its class, or each of several, as ``score`` takes them; see ``sae_lens_classif.explain``."""
        # They are called as the evaluation calls them, if there is one.
        described = self.summary["methods"].get(self._fitted.name, {}).get("concepts", ())
        texts = text if isinstance(text, str) else texts_of(text, self.cfg.data.text_column)
        return explain(self.method, self.classifier, texts, described, self.cfg.evaluate.context)

    def name(self, concept: int, name: str) -> None:
        """Give a concept a name, which is kept in the run folder and shown wherever the concept is.

        Args:
            concept: Its number.
            name: At most 80 characters; empty to take it back.
        """
        self.concepts[concept]  # or refused
        name_concept(self._run, concept, name, self._fitted.name)
        for known in ("summary", "_entry", "evaluation", "concepts", "mistakes"):
            self.__dict__.pop(known, None)

    @property
    def given_names(self) -> dict[int, str]:
        """The names that ``name`` gave, by the concepts' numbers."""
        return names_of(self._run, self._fitted.name)

    def score(self, texts: Any) -> "pd.DataFrame":
        """A row a text: its class, the probability, the class through the concepts alone, and the active concepts.

        Args:
            texts: A text, or any number of them: a list, a column, or a whole DataFrame or ``datasets.Dataset``, whose
                column ``data.text_column`` is read.

        Returns:
            ``text``, ``predicted``, ``probability``, ``through_concepts``, and in ``concepts`` a list of those that are
            active, the largest effect first, each with ``concept``, ``activation``, ``effect``, ``of`` which
            class, and the ``name`` it was given.

        Raises:
            UserError: If they are something else, or the column is missing.
        """
        import pandas as pd

        given = list(texts_of(texts, self.cfg.data.text_column))
        found = score(self.method, self.classifier, given, self.cfg.evaluate.context, self.given_names)
        rows = [scored.to_row() for scored in found]
        index = texts.index if isinstance(texts, pd.Series | pd.DataFrame) else None
        names = ["predicted", "probability", "through_concepts", "concepts"]
        return pd.DataFrame(
            [{"text": text, **row} for text, row in zip(given, rows, strict=True)], index, ["text", *names]
        )

    def __repr__(self) -> str:
        done = [name for name, path in self._parts().items() if path.exists()]
        return f"Run({str(self.folder)!r}: {', '.join(done) or 'nothing yet'})"

    def _parts(self) -> dict[str, Path]:
        return {
            "classifier": self._run.classifier,
            "states": self._run.activations("test"),
            "sae": self._run.sae,
            "evaluation": self._run.summary,
            "comparison": self.folder / "comparison.json",
            "sweep": self._run.sweep,
            "report": self._run.report(),
        }

    def _repr_html_(self) -> str:
        head = f"<p><strong>{escape(self.folder.resolve().name)}</strong>: {escape(repr(self))}</p>"
        return head + (self.concepts._repr_html_() if self._run.summary.is_file() else "")


def _checked(split: Split) -> Split:
    if split not in ("train", "test"):
        raise UserError(f"split is {split!r}; valid: train, test")
    return split


def _concept(entry: Mapping[str, Any]) -> Concept:
    """A concept as ``summary.json`` has it."""
    known: dict[str, Any] = {field.name: entry[field.name] for field in fields(Concept) if field.name in entry}
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}
    return Concept(**values)


class RunConcept:
    """A concept of a run, with its texts.

    Attributes:
        described: What was measured of it; its attributes are this one's, too.
        top_texts: The test texts that activate it most, the strongest first.
        effects: For each class what the concept adds to its probability where it is active, -1..1; empty where that was
            not measured.
    """

    def __init__(self, described: Concept, texts: Sequence[str], effects: Mapping[str, float]) -> None:
        self.described, self.effects = described, dict(effects)
        self.top_texts = tuple(texts[row] for row in described.top_texts)

    @property
    def index(self) -> int:
        """Its number."""
        return self.described.index

    @property
    def class_name(self) -> str:
        """Class whose probability it raises most."""
        return self.described.class_name

    @property
    def name(self) -> str:
        """Its name: one that was given, else phrases of its texts."""
        return self.described.name

    @property
    def key_words(self) -> tuple[str, ...]:
        """Words that set its texts apart."""
        return self.described.key_words

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "described":
            raise AttributeError(name)
        return getattr(self.described, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(field.name for field in fields(Concept))})

    def __repr__(self) -> str:
        return repr(self.described)

    def _repr_html_(self) -> str:
        texts = "".join(f"<li dir='auto'>{escape(text[:300])}</li>" for text in self.top_texts[:_N_SHOWN])
        return f"<p>{escape(repr(self))}</p><ol>{texts}</ol>"


class Concepts(Table, Mapping[int, RunConcept]):
    """Concepts by their numbers, the most influential first."""

    def __init__(self, concepts: Sequence[RunConcept]) -> None:
        """
        Args:
            concepts: In their order.
        """
        self._by_index = {concept.index: concept for concept in concepts}

    def __getitem__(self, index: int) -> RunConcept:
        if index not in self._by_index:
            raise UserError(
                f"there is no living concept {index!r}; those that live: {', '.join(map(str, sorted(self)))}"
            )
        return self._by_index[index]

    def __contains__(self, index: object) -> bool:
        return index in self._by_index

    @override
    def get(self, index: int, default: Any = None) -> Any:
        return self._by_index.get(index, default)

    def __iter__(self) -> Iterator[int]:
        return iter(self._by_index)

    def __len__(self) -> int:
        return len(self._by_index)

    def to_pandas(self) -> "pd.DataFrame":
        """A row a concept, indexed by its number; ``adds_<class>`` is what it adds to the class where it is active."""
        import pandas as pd

        rows = [
            {
                "concept": concept.index,
                "class": class_of_concept(vars(concept.described)),
                "name": concept.name,
                "key_words": ", ".join(concept.key_words),
                "activation_rate": concept.described.activation_rate,
                "tvd": concept.described.tvd,
                "influence": concept.described.influence,
                "concept_sim": concept.described.concept_sim,
                **{f"adds_{name}": value for name, value in concept.effects.items()},
                "top_text": next(iter(concept.top_texts), None),
            }
            for concept in self.values()
        ]
        return pd.DataFrame(rows).set_index("concept") if rows else pd.DataFrame()

    def __repr__(self) -> str:
        first = "; ".join(f"{concept.index} {concept.name}" for concept in list(self.values())[:3])
        return f"Concepts({len(self)}: {first}{'; …' if len(self) > 3 else ''})"


class MethodsTable(Table):
    """Concept methods beside each other.

    Attributes:
        methods: The rows.
    """

    def __init__(self, methods: Sequence[ComparedMethod]) -> None:
        """
        Args:
            methods: The rows.
        """
        self.methods = tuple(methods)

    def to_pandas(self) -> "pd.DataFrame":
        """A row a method; of each measure the mean over seeds, ``_low``, ``_high``, ``_differs`` from ClassifSAE."""
        import pandas as pd

        rows = []
        for method in self.methods:
            row: dict[str, Any] = {"method": method.name, "title": method.title, "seeds": len(method.seeds)}
            for measure in columns():
                estimate = method.estimates.get(measure.name)
                low, high = (estimate.ci95 if estimate and estimate.ci95 else None) or (None, None)
                difference = method.differences.get(measure.name)
                row[measure.name] = estimate.mean if estimate else None
                row |= {f"{measure.name}_low": low, f"{measure.name}_high": high}
                row[f"{measure.name}_differs"] = difference.is_real if difference else None
            rows.append(row)
        return pd.DataFrame(rows).set_index("method")

    def __repr__(self) -> str:
        return f"MethodsTable({', '.join(method.title for method in self.methods)})"


class SweepTable(Table):
    """The cells of a sweep.

    Attributes:
        grid: The settings that were swept, by their full names, with their values.
        rows: The cells with the same settings but for the seed together, as ``sweep.json`` has them.
    """

    def __init__(self, found: Sweep) -> None:
        """
        Args:
            found: Content of ``sweep.json``.
        """
        self.grid, self.rows = found.grid, tuple(found.rows)

    def to_pandas(self, seeds_together: bool = False) -> "pd.DataFrame":
        """A row a cell, indexed by its folder in ``sweep/``: each swept setting, ``seed``, and the measures.

        Args:
            seeds_together: Whether cells that differ in the seed alone are one row, numbered: each swept setting but
                the seed, ``seeds`` (how many), and of each measure the mean, ``_low`` and ``_high`` (its 95 %
                interval).
        """
        import pandas as pd

        if seeds_together:
            return pd.DataFrame([_all_seeds(row) for row in self.rows])
        cells = [_one_seed(row, place) for row in self.rows for place in range(len(row.seeds))]
        return pd.DataFrame(cells).set_index("folder")

    def __len__(self) -> int:
        return sum(len(row.seeds) for row in self.rows)

    def __repr__(self) -> str:
        settings = "; ".join(f"{name} {_few(values)}" for name, values in self.grid.items())
        return f"SweepTable({len(self)} cells: {shorten(settings, 200, placeholder=' …')})"


def _one_seed(row: SweepRow, place: int) -> dict[str, Any]:
    measures = {name: found.by_seed[place] for name, found in row.measures.items()}
    return {"folder": row.folders[place], **row.cell, "seed": row.seeds[place], **measures}


def _all_seeds(row: SweepRow) -> dict[str, Any]:
    cells: dict[str, Any] = {**row.cell, "seeds": len(row.seeds)}
    for name, found in row.measures.items():
        low, high = found.ci95 or (None, None)
        cells |= {name: found.mean, f"{name}_low": low, f"{name}_high": high}
    return cells


def _few(values: Sequence[Any]) -> str:
    shown = ", ".join(map(str, values[:_N_SHOWN]))
    return f"{shown}, …" if len(values) > _N_SHOWN else shown


class MistakesTable(Table):
    """Wrong decisions on the test texts."""

    def __init__(
        self, store: ActivationStore, data: TextData, effects: ConceptEffects | None, names: Mapping[int, str]
    ) -> None:
        """
        Args:
            store: What the model predicts.
            data: The texts.
            effects: Which concept misled it; None where that is not known.
            names: Names of the concepts by their numbers.
        """
        self._predicted, self._labels = store.read("predicted"), store.read("label")
        self._store, self._data, self._names = store, data, names
        self._misled = {text.row: text for text in effects.misled} if effects else {}

    @property
    def rows(self) -> list[int]:
        """Numbers of the wrongly decided texts."""
        return torch.nonzero(self._predicted != self._labels)[:, 0].tolist()

    def to_pandas(self) -> "pd.DataFrame":
        """A row a text: what it is labelled, what the model says, and the concept that pushes most towards that."""
        import pandas as pd

        rows = []
        for row in self.rows:
            misled = self._misled.get(row)
            rows.append(
                {
                    "row": row,
                    "text": self._data.texts[row],
                    "labelled": self._in_words(self._labels[row]),
                    "decided": self._in_words(self._predicted[row]),
                    "misled_by": misled.concept if misled else None,
                    "misled_by_name": self._names.get(misled.concept, "") if misled else None,
                    "adds_to_wrong": misled.for_wrong if misled else None,
                    "adds_to_right": misled.for_right if misled else None,
                    "right_without": misled.is_righted if misled else None,
                }
            )
        of_concept = ["misled_by", "misled_by_name", "adds_to_wrong", "adds_to_right", "right_without"]
        frame = pd.DataFrame(rows, columns=["row", "text", "labelled", "decided", *of_concept])
        return frame.set_index("row").astype({"misled_by": "Int64"})

    def _in_words(self, decision: torch.Tensor) -> str:
        return self._store.rule.in_words(int(decision), self._store.class_names)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        share = number(len(self) / max(len(self._labels), 1), True)
        return f"MistakesTable({len(self)} of {len(self._labels)} test texts, {share})"
