"""The model card of a published ClassifSAE: what it explains, how to load it, what was measured, what it cannot do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from sae_lens_classif.config.run import RunConfig
from sae_lens_classif.evals.headlines import FLOOR, HEADLINES
from sae_lens_classif.runs.about import model_in_words
from sae_lens_classif.wording import bare_number, markdown_row, markdown_text, number

SAE_ID, TOPK_ID = "classifsae", "topk"
LOCAL_MODEL, LOCAL_TEXTS = "a local model", "local texts"
TEXTS_FILE = "top_texts.json"
_TAGS = ("saelens", "sparse-autoencoder", "classifsae", "sae-lens-classif", "mechanistic-interpretability")


@dataclass(frozen=True)
class CardFacts:
    """What a card tells.

    Attributes:
        repo_id: ``owner/name`` on the Hub.
        cfg: Settings of the run.
        summary: Content of the run's ``summary.json``.
        entry: The SAE's own measures in it.
        sae_cfg: Content of the SAE's ``cfg.json``.
        license: Identifier of the licence of what is published, or None.
        comparison: Content of ``comparison.md``, or None.
        figures: Paths of pictures in the repository, by title.
        with_texts: Whether texts are published too.
    """

    repo_id: str
    cfg: RunConfig
    summary: Mapping[str, Any]
    entry: Mapping[str, Any]
    sae_cfg: Mapping[str, Any]
    license: str | None
    comparison: str | None
    figures: Mapping[str, str]
    with_texts: bool

    @property
    def model(self) -> str:
        """The classifier in a few words of Markdown."""
        return model_in_words(self.cfg, self._named)

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
        name: str | None = self.summary.get("hub_names", {}).get(what)
        return name


def model_card(facts: CardFacts) -> str:
    """The whole ``README.md``, metadata included."""
    parts = (_title(facts), _loading(facts), _explained(facts), _results(facts), _concepts(facts), _limits(facts))
    return f"---\n{_metadata(facts).to_yaml()}\n---\n\n" + "\n\n".join(map("\n".join, parts)) + "\n"


def _metadata(facts: CardFacts) -> ModelCardData:
    data = facts.hub_name("data")
    return ModelCardData(
        license=facts.license,
        library_name="saelens",
        tags=list(_TAGS),
        base_model=facts.hub_name("model") or facts.hub_name("base_model"),
        datasets=[data] if data else None,
        model_name=facts.repo_id.split("/")[-1],
        eval_results=[
            EvalResult(
                task_type="text-classification",
                dataset_type=data or LOCAL_TEXTS,
                dataset_name=data or LOCAL_TEXTS,
                dataset_split="test",
                metric_type=name,
                metric_name=heading,
                metric_value=round(facts.entry[name], 6),
            )
            for name, heading, _ in HEADLINES
            if facts.entry.get(name) is not None
        ],
    )


def _title(facts: CardFacts) -> Iterator[str]:
    classes = [markdown_text(name) for name in facts.summary["class_names"]]
    yield f"# {markdown_text(facts.repo_id.split('/')[-1])}"
    yield ""
    yield (
        f"Which concepts does a language model ({facts.model}) use when it sorts texts ({facts.data}) into "
        f"{', '.join(classes[:-1])} and {classes[-1]}? This sparse autoencoder finds {facts.sae_cfg['n_concepts']}, "
        f"and the numbers below say how far they cause its decisions. It is a ClassifSAE "
        "([Le Bail et al., arXiv 2506.23951](https://arxiv.org/abs/2506.23951)) in the format of "
        "[SAELens](https://github.com/decoderesearch/SAELens)."
    )
    for title, path in facts.figures.items():
        yield ""
        yield f"![{title}]({path})"


def _loading(facts: CardFacts) -> Iterator[str]:
    hook, n_concepts = facts.sae_cfg["metadata"].get("hook_name"), facts.sae_cfg["n_concepts"]
    yield "## Load it"
    yield ""
    yield "```python"
    yield "import sae_lens_classif  # first: it tells SAELens of the architecture (pip install sae-lens-classif)"
    yield "from sae_lens import SAE"
    yield ""
    yield f'sae = SAE.from_pretrained("{facts.repo_id}", "{SAE_ID}")'
    yield f"z = sae.encode(hidden_states)  # float (texts, {facts.sae_cfg['d_in']}), see below"
    yield f"concepts, logits = z[:, :{n_concepts}], sae.classify(z)"
    yield "```"
    yield ""
    yield (
        f"`hidden_states` are those of `{hook}` (TransformerLens' name) at the last token of the prompt. "
        f'Without this package, `SAE.from_pretrained("{facts.repo_id}", "{TOPK_ID}")` gives the same latents, '
        f"of which the first {n_concepts} are the concepts, and no head."
    )


def _explained(facts: CardFacts) -> Iterator[str]:
    cfg, sae = facts.cfg, facts.sae_cfg
    rows = {
        "Classifier": facts.model,
        **_inputs(facts.summary.get("prompt")),
        "Classes": ", ".join(map(markdown_text, facts.summary["class_names"])),
        "Texts": f"{facts.data}, {facts.summary['n_test_texts']:,} test texts",
        "Hook": f"`{facts.summary['hook']}`, last token of the prompt",
        "Size": f"{sae['d_in']} → {sae['d_sae']} latents, {sae['k']} active on a text; {sae['n_concepts']} concepts",
        "Training": f"{cfg.train.total_samples:,} samples, seed {cfg.train.seed}; settings of SAE "
        f"and training in `{SAE_ID}/runner_cfg.json`",
        "Made with": f"sae-lens-classif {sae['metadata']['sae_lens_classif_version']}, "
        f"SAELens {sae['metadata']['sae_lens_version']}",
        "Licence": facts.license or "none was given: ask the publisher before you use it",
    }
    yield "## What it explains"
    yield ""
    yield "| | |"
    yield "|---|---|"
    for row in rows.items():
        yield markdown_row(row)


def _inputs(described: Mapping[str, Any] | None) -> dict[str, str]:
    """How texts are read: in a prompt that is answered, or as the classifier's own backend has it."""
    if not described:
        return {"Prompt": "not noted; evaluate the run again", "Answers": "–"}
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


def _results(facts: CardFacts) -> Iterator[str]:
    entry = facts.entry
    yield "## What was measured"
    yield ""
    yield "| Measure | Value | 95 % interval |"
    yield "|---|---:|---:|"
    for name, heading, in_percent in HEADLINES:
        if entry.get(name) is not None:
            limits = entry.get(f"{name}_ci95") or (None, None)
            interval = " … ".join(number(limit, in_percent) for limit in limits)
            yield markdown_row((heading, number(entry[name], in_percent), interval))
    name, heading, in_percent = FLOOR
    if name in facts.summary:
        yield markdown_row((heading.strip(), number(facts.summary[name], in_percent), ""))
    yield ""
    yield (
        f"On {facts.summary['n_test_texts']:,} test texts, none of which the SAE was trained on; intervals are from a "
        "bootstrap over these texts, for this one training. The files are in [`evals/`](evals)."
    )
    for warning in entry["warnings"]:
        yield ""
        yield f"**Warning:** {markdown_text(warning)}"
    if facts.comparison is not None:
        yield ""
        yield "Beside other concept methods on the same hidden states:"
        yield ""
        yield facts.comparison.strip()


def _concepts(facts: CardFacts) -> Iterator[str]:
    yield "## The concepts"
    yield ""
    yield "| Concept | Class | Key words of its texts | fires on, % | TVD, % | ConceptSim |"
    yield "|---:|---|---|---:|---:|---:|"
    for concept in facts.entry["concepts"]:
        yield markdown_row(_concept_row(concept))
    yield ""
    yield (
        "The most influential first. **Class**: the one on whose texts it is most active. **TVD**: how far the class "
        "probabilities move when the concept is removed where it fires. **ConceptSim**: how alike these texts are."
    )


def _concept_row(concept: Mapping[str, Any]) -> Sequence[str]:
    return (
        str(concept["index"]),
        markdown_text(concept["class_name"]),
        markdown_text(", ".join(concept["key_words"])),
        bare_number(concept["activation_rate"], True),
        bare_number(concept["tvd"], True),
        bare_number(concept["concept_sim"], False),
    )


def _limits(facts: CardFacts) -> Iterator[str]:
    where = "a sequence of one token" if facts.entry["context"] == "alone" else "the whole prompt"
    yield "## Limits"
    yield ""
    yield "- The concepts are this classifier's, at this hook, on texts like these; for another model train anew."
    yield "- Key words describe the texts that activate a concept; what it means to the model is an interpretation."
    yield f"- Effects were measured with the changed hidden state in {where}, one concept removed at a time."
    yield "- Another seed finds other concepts; the intervals above do not hold that spread."
    yield "- This is an explanation to be checked, not a proof that the classifier is fair, safe or right."
    if facts.with_texts:
        yield f"- The texts that activate each concept most are in `evals/{TEXTS_FILE}`, published on purpose."
    else:
        yield "- No texts are published here; the key words are single words of them."
