"""The model card of published concepts: what they explain, how to load them, what was measured, what they cannot do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from sae_lens_classif.audit.stable_concepts import Stability, when_it_comes_back
from sae_lens_classif.config.run import RunConfig
from sae_lens_classif.evals.measures import headline_rows, headlines
from sae_lens_classif.hooks.inputs import LAST_OF_PROMPT
from sae_lens_classif.runs.about import model_in_words
from sae_lens_classif.templates import template
from sae_lens_classif.wording import markdown_text

SAE_ID, TOPK_ID = "classifsae", "topk"
LOCAL_MODEL, LOCAL_TEXTS = "a local model", "local texts"
TEXTS_FILE = "top_texts.json"
_TAGS = ("saelens", "sparse-autoencoder", "classifsae", "sae-lens-classif", "mechanistic-interpretability")


@dataclass(frozen=True)
class CardFacts:
    """What a card tells.

    Attributes:
        repo_id: ``owner/name`` on the Hub.
        method: Name of the method whose concepts are published, and of its folder.
        title: How tables call it.
        d_in: Width of the hidden states.
        n_concepts: Number of concepts.
        sae_cfg: Content of the ClassifSAE's ``cfg.json``; None for another method.
        cfg: Settings of the run.
        summary: Content of the run's ``summary.json``.
        entry: The method's measures in it.
        license: Identifier of the licence of what is published, or None.
        comparison: Content of ``comparison.md``, or None.
        figures: Paths of pictures in the repository, by title.
        with_texts: Whether texts are published too.
        stability: The concepts in other trainings; None where that was not looked at.
    """

    repo_id: str
    method: str
    title: str
    d_in: int
    n_concepts: int
    sae_cfg: Mapping[str, Any] | None
    cfg: RunConfig
    summary: Mapping[str, Any]
    entry: Mapping[str, Any]
    license: str | None
    comparison: str | None
    figures: Mapping[str, str]
    with_texts: bool
    stability: Stability | None = None

    @property
    def model(self) -> str:
        """The classifier in a few words of Markdown."""
        return model_in_words(self.cfg, self._named)

    @property
    def read_at(self) -> str:
        """Whose state is explained, in words; a summary of before does not say, and knew one kind of model alone."""
        return self.summary.get("read_at") or LAST_OF_PROMPT

    def _named(self, what: str) -> str:
        local = "a fine-tuned one that is not published here" if what == "model" else LOCAL_MODEL
        name = self.hub_name(what)
        return f"**{markdown_text(name)}**" if name else local

    @property
    def data(self) -> str:
        """The texts in a few words of Markdown."""
        name = self.hub_name("data") or (self.cfg.data.source if self.cfg.data.source == "bbc_news" else None)
        return f"**{markdown_text(name)}**" if name else LOCAL_TEXTS

    def hub_name(self, what: str) -> str | None:
        """What strangers know the model, its base or the texts by; None for local ones."""
        name: str | None = self.summary["hub_names"][what]
        return name


def model_card(facts: CardFacts) -> str:
    """The whole ``README.md``, metadata included."""
    return template("model_card.md").render(
        facts=facts,
        metadata=_metadata(facts).to_yaml(),
        sae=facts.sae_cfg,
        sae_id=SAE_ID,
        topk_id=TOPK_ID,
        texts_file=TEXTS_FILE,
        explained=_explained(facts).items(),
        numbers=headline_rows({**facts.summary, **facts.entry}),
        stability=facts.stability,
        how_stability_reads=when_it_comes_back(facts.stability) if facts.stability else "",
    )


def _metadata(facts: CardFacts) -> ModelCardData:
    data = facts.hub_name("data")
    return ModelCardData(
        license=facts.license,
        library_name="saelens" if facts.sae_cfg else "sae-lens-classif",
        tags=[*_TAGS] if facts.sae_cfg else [facts.method, *_TAGS[-2:]],
        base_model=facts.hub_name("model") or facts.hub_name("base_model"),
        datasets=[data] if data else None,
        model_name=facts.repo_id.split("/")[-1],
        eval_results=[
            EvalResult(
                task_type="text-classification",
                dataset_type=data or LOCAL_TEXTS,
                dataset_name=data or LOCAL_TEXTS,
                dataset_split="test",
                metric_type=measure.name,
                metric_name=measure.title,
                metric_value=round(facts.entry[measure.name], 6),
            )
            for measure in headlines()
            if not measure.beside_of and facts.entry.get(measure.name) is not None
        ],
    )


def _explained(facts: CardFacts) -> dict[str, str]:
    """The table of what the concepts explain, and of what they were made."""
    return {
        "Classifier": facts.model,
        **_inputs(facts.summary["prompt"]),
        "Classes": ", ".join(map(markdown_text, facts.summary["class_names"])),
        "Texts": f"{facts.data}, {facts.summary['n_test_texts']:,} test texts",
        "Hook": f"`{facts.summary['hook']}`, {facts.read_at}",
        **(_training(facts, facts.sae_cfg) if facts.sae_cfg else {}),
        "Licence": facts.license or "none was given: ask the publisher before you use it",
    }


def _training(facts: CardFacts, sae: Mapping[str, Any]) -> dict[str, str]:
    train, metadata = facts.cfg.train, sae["metadata"]
    return {
        "Size": f"{sae['d_in']} → {sae['d_sae']} latents, {sae['k']} active on a text; {sae['n_concepts']} concepts",
        "Training": f"{train.total_samples:,} samples, seed {train.seed}; settings of SAE "
        f"and training in `{SAE_ID}/runner_cfg.json`",
        "Made with": f"sae-lens-classif {metadata['sae_lens_classif_version']}, SAELens {metadata['sae_lens_version']}",
    }


def _inputs(described: Mapping[str, Any]) -> dict[str, str]:
    """How texts are read: in a prompt that is answered, or as the classifier's own backend has it."""
    if "template" not in described:
        return {"Reads": f"the text, at most {described['max_tokens']} tokens"}
    answers = ", ".join(map(_code, described["label_words"]))
    return {
        "Prompt": _code(repr(described["template"])),
        "Answers": f"{answers}; at most {described['max_tokens']} tokens a prompt",
    }


def _code(text: str) -> str:
    """A code span, whatever backticks are in it."""
    fence = "`"
    while fence in text:
        fence += "`"
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"
