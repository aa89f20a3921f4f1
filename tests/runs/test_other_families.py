"""Models with a head go the whole way of a run by the one line of the README."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sae_lens_classif.checksums import read_json
from sae_lens_classif.config.classifier import FinetuneConfig, PromptConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.hooks.tuning.finetune import finetune
from tests.fakes.models import NAMES, write_model
from tests.tiny_run import cli

_SMALL = (
    "--sae.d_sae", "64", "--sae.n_concepts", "6", "--train.total_samples", "3000", "--train.batch_size", "50",
    "--evaluate.n_bootstrap", "20", "--evaluate.figures", "false",
)  # fmt: skip


def write_texts(folder: Path, numbers: bool, **splits: TextData) -> Path:
    folder.mkdir()
    for split, data in splits.items():
        names: list[object] = list(range(3)) if numbers else list(data.class_names)
        rows = [{"text": text, "label": names[label]} for text, label in zip(data.texts, data.labels, strict=True)]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("family", "numbers", "hook", "read_at"),
    [
        ("Bert", False, "blocks.2.hook_resid_post", "the first token"),
        ("GPT2", True, "blocks.2.hook_resid_pre", "the last token of the text"),
        ("ModernBert", False, "hook_pooled", "the mean over all tokens"),
    ],
)
def test_a_model_with_a_head_goes_the_whole_way(
    family: str, numbers: bool, hook: str, read_at: str, train_data: TextData, test_data: TextData, tmp_path: Path
) -> None:
    changes = {"classifier_pooling": "mean"} if family == "ModernBert" else {}
    write_model(tmp_path / "base", family, **changes)
    cfg = FinetuneConfig(base_model=str(tmp_path / "base"), head="classification", max_steps=60, batch_size=16, lr=3e-3)
    for part in finetune(cfg, PromptConfig(), replace(train_data, class_names=NAMES), torch.device("cpu")):
        part.save_pretrained(tmp_path / "model")  # as anybody would
    source = write_texts(tmp_path / "texts", numbers, train=train_data, test=test_data)
    run = tmp_path / "run"
    done = cli("run", "--run", run, "--classifier.model", tmp_path / "model", "--data.source", source, *_SMALL)
    assert done.code == 0, done.stderr
    summary = read_json(run / "summary.json")
    assert summary["hook"] == hook
    assert summary["class_names"] == list(NAMES), "as the model has them, whatever the alphabet says"
    cfg = read_json(run / "saes" / "classifsae" / "cfg.json")
    assert cfg["metadata"]["hook_name"] == hook
    methods = "classifsae,topk_sae,ica,hi_concept,random_directions"
    for command in (
        ("compare", "--run", run, "--compare.methods", methods, "--baselines.epochs", "2"),
        ("explain", run, "the quick dog in the rain"),
        ("report", run),
        ("publish", run, "me/mine", "--dry-run"),
        ("sweep", "--run", run, "--grid", "train.seed=0,1"),
        ("evaluate", "--run", run, "--data", source),
        ("stability", run, "--seeds", "2"),
    ):
        ended = cli(*command)
        assert ended.code == 0, (command, ended.stderr)
    notes = read_json(run / "comparison.json")["methods"]
    assert not [note for method in notes.values() for note in method["notes"] if "failed" in note]
    card = (run / "hub" / "README.md").read_text(encoding="utf-8")
    assert f"`{hook}`, {read_at}" in card and "cannot be hung into a `HookedTransformer`" in card
    assert f"hidden state, {read_at}" in (run / "report.html").read_text(encoding="utf-8")
