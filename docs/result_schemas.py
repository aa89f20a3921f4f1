"""What the JSON files of a run hold, as JSON Schemas: ``python docs/result_schemas.py`` writes ``docs/schemas/``."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from sae_lens_classif.config.run import EvaluateConfig
from sae_lens_classif.evals.comparison import ComparedMethod
from sae_lens_classif.evals.evaluate import Concept

FOLDER = Path(__file__).parent / "schemas"

Share = Annotated[float, Field(ge=0, le=1)]
Change = Annotated[float, Field(ge=-1, le=1)]
Cosine = Annotated[float, Field(ge=-1.000001, le=1.000001)]
Count = Annotated[int, Field(ge=0)]
Interval = Annotated[list[float | None], Field(min_length=2, max_length=2, description="Low and high end, 95 %.")]
Curve = Annotated[list[Cosine | None], Field(min_length=4, max_length=4)]


class _Exact(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CompletenessMetrics(_Exact):
    """How much of the model's decisions the concepts alone recover."""

    recovery_accuracy: Share = Field(description="Texts whose class stays the same through the concepts alone (RAcc).")
    recovery_accuracy_ci95: Interval
    original_accuracy: Share = Field(description="Accuracy of the model against the gold labels.")
    original_accuracy_ci95: Interval
    bottleneck_accuracy: Share = Field(description="The same through the concepts alone.")
    bottleneck_accuracy_ci95: Interval
    mean_activation_rate: Share = Field(description="Share of the texts on which a concept fires, mean over concepts.")
    mean_activation_rate_ci95: Interval
    max_activation_rate: Share = Field(description="The same of the concept that fires most often.")
    max_activation_rate_ci95: Interval
    explained_variance: float | None = Field(None, description="Of an SAE's reconstruction from all latents.")
    mse: float | None = Field(None, description="Its mean squared error an element.")
    l0: float | None = Field(None, description="Latents that fire on a text, mean.")
    dead_latents: Share | None = Field(None, description="Latents that fire on no test text.")
    head_agreement: Share | None = Field(None, description="Texts on which a ClassifSAE's head and the model agree.")


class CausalityMetrics(_Exact):
    """What happens when one concept is removed from the texts on which it is active, mean over concepts."""

    conditional_tvd: Share | None = Field(description="Total variation distance between the class probabilities.")
    conditional_tvd_ci95: Interval
    conditional_label_flip_rate: Share | None = Field(description="Texts whose class changes.")
    conditional_label_flip_rate_ci95: Interval
    conditional_accuracy_change: Change | None = Field(description="Accuracy without less accuracy with the concept.")
    conditional_accuracy_change_ci95: Interval


class InterpretabilityMetrics(_Exact):
    """How alike the texts of a concept are."""

    concept_sim: Cosine | None = Field(description="Mean cosine of texts within a concept, weighted by pairs.")
    concept_sim_ci95: Interval
    concept_sim_unweighted: Cosine | None = Field(description="The same, all concepts alike.")
    dataset_mean_cosine: Cosine | None = Field(description="The same over all texts: the floor.")
    sentence_sim: Curve = Field(description="Mean cosine of texts that share 1, 2, 3, 4 of their 5 strongest concepts.")
    sentence_sim_ci95: Annotated[list[Interval], Field(min_length=4, max_length=4)]
    mean_jaccard: Share | None = Field(description="Overlap of two concepts' activating texts, mean over pairs.")
    redundancy: float | None = Field(description="Activating sets that a covered text is in, mean.")
    coverage: Share = Field(description="Texts in at least one activating set.")
    c_v: float | None = Field(description="Topic coherence of the key words, mean over concepts.")
    c_uci: float | None
    c_npmi: float | None


class ClassScores(_Exact):
    """Of one class, against the gold labels."""

    recall: Share
    precision: Share
    f1: Share
    n_texts: Count


class CompletenessDetails(_Exact):
    """A concept's and a class's own numbers."""

    activation_rate: list[Share]
    by_class_original: list[ClassScores]
    by_class_bottleneck: list[ClassScores]


class ConceptEffect(_Exact):
    """Of one concept's removal where it is active."""

    concept: Count
    n_texts: Count
    tvd: Share | None
    label_flip_rate: Share | None
    accuracy_change: Change | None


class GlobalEffect(_Exact):
    """Of the removal of the first so many percent of a class's concepts, over all texts."""

    percent: Literal[25, 50, 75, 100]
    class_: Count = Field(alias="class")
    concepts: list[Count]
    tvd: Share
    label_flip_rate: Share
    accuracy_change: Change


class CausalityDetails(_Exact):
    """A concept's own numbers, and which concepts belong to which class."""

    concepts: list[ConceptEffect]
    segments: list[list[Count]]
    global_: list[GlobalEffect] = Field(alias="global")


class Coherence(_Exact):
    """Of one concept's key words."""

    concept: Count
    c_v: float | None
    c_uci: float | None
    c_npmi: float | None


class InterpretabilityDetails(_Exact):
    """A concept's own numbers."""

    concept_sim: list[Cosine | None]
    activating_texts: list[Count]
    jenks_break: list[float | None]
    topic_coherence: list[Coherence]
    key_words: list[dict[str, float]] = Field(description="TF-IDF weight of each word, the highest first.")


class Unstructured(_Exact):
    """What else is worth keeping."""

    settings_sha256: str = Field(description="Of everything that the results depend on.")
    warnings: list[str]


class _Result(_Exact):
    """The shape of SAEBench's result files."""

    eval_config: EvaluateConfig
    eval_id: str
    datetime_epoch_millis: Count
    eval_result_unstructured: Unstructured
    sae_lens_id: str = Field(description="Name of the method.")
    sae_lens_release_id: str = Field(description="Name of the run.")
    sae_lens_version: str
    sae_cfg_dict: dict[str, Any] = Field(description="As the SAE's cfg.json; empty for other methods.")


class CompletenessResult(_Result):
    """``evals/<method>/completeness.json``."""

    eval_type_id: Literal["classif_completeness"]
    eval_result_metrics: CompletenessMetrics
    eval_result_details: Annotated[list[CompletenessDetails], Field(min_length=1, max_length=1)]


class CausalityResult(_Result):
    """``evals/<method>/causality.json``."""

    eval_type_id: Literal["classif_causality"]
    eval_result_metrics: CausalityMetrics
    eval_result_details: Annotated[list[CausalityDetails], Field(min_length=1, max_length=1)]


class InterpretabilityResult(_Result):
    """``evals/<method>/interpretability.json``."""

    eval_type_id: Literal["classif_interpretability"]
    eval_result_metrics: InterpretabilityMetrics
    eval_result_details: Annotated[list[InterpretabilityDetails], Field(min_length=1, max_length=1)]


class Comparison(_Exact):
    """``comparison.json``: concept methods beside each other."""

    n_test_texts: Count
    methods: dict[str, ComparedMethod]


SCHEMAS: dict[str, Any] = {
    "completeness": CompletenessResult,
    "causality": CausalityResult,
    "interpretability": InterpretabilityResult,
    "comparison": Comparison,
    "concepts": list[Concept],
}


def text_of(name: str) -> str:
    """The JSON Schema of one kind of file, as it is committed.

    Args:
        name: One of ``SCHEMAS``.
    """
    schema = TypeAdapter(SCHEMAS[name]).json_schema(by_alias=True)
    content = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in SCHEMAS:
        (FOLDER / f"{name}.json").write_text(text_of(name), encoding="utf-8")
