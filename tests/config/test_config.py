"""Settings: the defaults are the paper's, the presets are whole, impossible values are refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from sae_lens_classif.cli.parser import parse
from sae_lens_classif.config.classifier import CacheConfig, ClassifierConfig, DataConfig, FinetuneConfig, PromptConfig
from sae_lens_classif.config.methods import CompareConfig, SweepConfig
from sae_lens_classif.config.presets import PRESETS, preset_names
from sae_lens_classif.config.run import EvaluateConfig, RunConfig, SAESettings, TrainConfig
from sae_lens_classif.config.yaml import load_config, write_settings
from sae_lens_classif.errors import UserError, nearest


@pytest.fixture(autouse=True)
def _no_runs_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_defaults_are_those_of_the_paper() -> None:
    cfg = RunConfig()
    sae, train, finetune = cfg.sae, cfg.train, cfg.finetune
    of_pythia_410m = replace(sae, recipe="reference").sized(n_classes=4, d_in=1024)
    assert (of_pythia_410m.n_concepts, of_pythia_410m.d_sae) == (20, 2048)
    assert (of_pythia_410m.k_concepts, of_pythia_410m.concept_init, of_pythia_410m.asks_model) == (0, "random", False)
    assert (sae.k, sae.gamma) == (10, 0.1)
    coefficients = (sae.mse_coefficient, sae.activation_rate_coefficient, sae.classifier_coefficient)
    assert coefficients == (0.02, 0.02, 1.0)
    assert sae.normalize_activations == "constant_norm_rescale"
    assert (train.total_samples, train.batch_size, train.lr, train.lr_end) == (
        10_000_000,
        500,
        5e-5,
        5e-7,
    )
    assert train.dead_after_steps == 100
    assert train.total_steps == 20_000
    assert (finetune.max_steps, finetune.batch_size, finetune.lr) == (30_000, 2, 2e-6)
    assert (finetune.warmup_share, finetune.weight_decay) == (0.05, 0.01)
    assert cfg.prompt.cut == "beginning"
    assert cfg.evaluate.context == "alone"
    assert cfg.classifier.hook is None, "the last block"


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_whole_run(name: str) -> None:
    request = parse(["run", "--preset", name])
    assert isinstance(request.cfg, RunConfig)
    sections = (
        (request.cfg.data, DataConfig), (request.cfg.prompt, PromptConfig), (request.cfg.cache, CacheConfig),
        (request.cfg.classifier, ClassifierConfig), (request.cfg.finetune, FinetuneConfig),
        (request.cfg.sae, SAESettings), (request.cfg.train, TrainConfig), (request.cfg.evaluate, EvaluateConfig),
    )  # fmt: skip
    assert all(isinstance(section, kind) for section, kind in sections)
    assert request.cfg != RunConfig(), "a preset sets something"


@pytest.mark.parametrize(
    ("name", "source", "subset", "class_names"),
    [
        ("ag_news", "ag_news", None, ("World", "Sports", "Business", "Sci/Tech")),
        ("imdb", "imdb", None, ("negative", "positive")),
        ("tweeteval_offensive", "tweet_eval", "offensive", ("non-offensive", "offensive")),
        ("tweeteval_sentiment", "tweet_eval", "sentiment", ("negative", "neutral", "positive")),
    ],
)
def test_the_presets_of_the_papers_data_sets_have_its_classes_and_hyper_parameters(
    name: str, source: str, subset: str | None, class_names: tuple[str, ...]
) -> None:
    cfg = parse(["run", "--preset", name]).cfg
    assert cfg.data.source.endswith(source)
    assert cfg.data.subset == subset
    assert cfg.data.class_names == class_names
    assert cfg.finetune.base_model == "EleutherAI/pythia-410m"
    assert (cfg.sae, cfg.train, cfg.finetune) == (SAESettings(), TrainConfig(), FinetuneConfig())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataConfig(max_characters=0), r"data\.max_characters is 0"),
        (lambda: DataConfig(max_train_texts=-1), r"data\.max_train_texts is -1"),
        (lambda: PromptConfig(template="no place"), r"prompt\.template is 'no place'.*\{text\} exactly once"),
        (lambda: PromptConfig(template="{text}{text}"), r"\{text\} exactly once"),
        (lambda: PromptConfig(max_tokens=0), r"prompt\.max_tokens is 0"),
        (lambda: FinetuneConfig(batch_size=0), r"finetune\.batch_size is 0"),
        (lambda: FinetuneConfig(d_model=130, n_heads=4), r"d_model is 130.*multiple of finetune\.n_heads = 4"),
        (lambda: CacheConfig(shard_size=0), r"cache\.shard_size is 0"),
        (lambda: TrainConfig(lr=0.0), r"train\.lr is 0\.0; it must be above 0"),
        (lambda: TrainConfig(validation_share=1.0), r"train\.validation_share is 1\.0"),
        (lambda: TrainConfig(keep="best", validation_share=0.0), r"set train\.validation_share above 0"),
        (lambda: TrainConfig(total_samples=10), "total_samples is 10, less than one batch of 500"),
        (lambda: EvaluateConfig(n_bootstrap=0), r"evaluate\.n_bootstrap is 0"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_name(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SAESettings(gamma=0.0), "gamma is 0.0"),
        (lambda: SAESettings(gamma=1.5), "gamma is 1.5"),
        (lambda: SAESettings(d_sae=0), "d_sae is 0"),
        (lambda: SAESettings(d_sae=64, k=65), "k is 65"),
        (lambda: SAESettings(d_sae=64, n_concepts=65), "n_concepts is 65"),
        (lambda: SAESettings(n_concepts=0), "n_concepts is 0"),
        (lambda: SAESettings(mse_coefficient=-1.0), "mse_coefficient is -1.0"),
        (lambda: SAESettings(dead_latent_loss="aux"), "dead_latent_loss is aux"),
        (lambda: CompareConfig(seeds=(0, -1)), r"compare\.seeds is -1"),
        (lambda: TrainConfig(seed=cast(int, None)), r"train\.seed is null"),
        (lambda: TrainConfig(keep=cast(Any, "middle")), r"train\.keep is 'middle'"),
        (lambda: TrainConfig(data_share=0.0), r"data_share is 0\.0; it must be above 0 and at most 1"),
        (lambda: TrainConfig(n_checkpoints=-1), r"n_checkpoints is -1; it must be at least 0"),
        (lambda: FinetuneConfig(seed=2**32), r"finetune\.seed is 4294967296; it must be at least 0 and below 4\.29"),
        (lambda: SweepConfig({"train.seed": [10**400, 10**400]}), r"sweep\.grid names a value of train\.seed twice"),
        (lambda: TrainConfig(lr_end=-1.0), "lr_end is -1.0"),
        (lambda: FinetuneConfig(dropout=1.5), "dropout is 1.5"),
        (lambda: FinetuneConfig(warmup_share=5.0), "warmup_share is 5.0"),
        (lambda: FinetuneConfig(label_smoothing=2.0), "label_smoothing is 2.0"),
    ],
)
def test_what_would_fail_after_hours_of_fine_tuning_is_refused_before(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_the_hint_for_an_unknown_name_asks_for_the_nearest_and_lists_all() -> None:
    assert nearest("lable", ["text", "label"]) == "did you mean 'label'? Valid: text, label"
    assert nearest("zzz", ["text", "label"]) == "Valid: text, label"


def test_a_settings_file_gives_the_run_and_defaults_for_what_it_leaves_out(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("data: {class_names: [a, b]}\ntrain:\n  lr: 1e-4  # as people write it\nsae:\n", encoding="utf-8")
    expected = RunConfig(data=DataConfig(class_names=("a", "b")), train=TrainConfig(lr=1e-4))
    assert load_config(file) == expected


@pytest.mark.parametrize("name", ["🎉🐕", "a\u2028b", "\x07\x7f", "1e-3", "yes", "'\"{}[],: #", "a\nb"])
def test_a_name_that_yaml_might_misread_is_read_from_a_run_folder_as_it_was(name: str, tmp_path: Path) -> None:
    settings = {"data": {"class_names": [name, "other"]}}
    (tmp_path / "config.yaml").write_text(write_settings(settings), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml").data.class_names == (name, "other")
    assert parse(["train", "--run", str(tmp_path)]).cfg.data.class_names == (name, "other")


def test_the_grid_of_a_sweep_keeps_its_order_on_the_way_through_a_run_folder(tmp_path: Path) -> None:
    grid = {"sae.gamma": [0.2, 0.05], "classifier.hook": ["blocks.1.hook_resid_pre"], "sae.k": [5]}
    (tmp_path / "config.yaml").write_text(write_settings({"sweep": {"grid": grid}}), encoding="utf-8")
    assert list(parse(["sweep", "--run", str(tmp_path)]).cfg.sweep.grid.items()) == list(grid.items())


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_the_same_run_from_python(name: str) -> None:
    assert load_config(PRESETS / f"{name}.yaml") == parse(["run", "--preset", name]).cfg


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sae: {d_sea: 5}", r"mine\.yaml.*'d_sea'; did you mean 'd_sae'"),
        ("trian: {lr: 0.1}", r"mine\.yaml.*'trian'; did you mean 'train'"),
        ("train: {lr: fast}", r"lr.*fast"),
        ("train: {batch_size: 1.5}", r"batch_size.*1\.5"),
        ("train: {lr: -1.0}", r"train\.lr is -1\.0"),
        ("sae: 5", r"mine\.yaml.*sae"),
        ("- sae", r"mine\.yaml.*list"),
        ("sae: [1,", r"mine\.yaml is not valid YAML"),
    ],
)
def test_a_settings_file_that_cannot_be_is_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_config(file)


def test_a_settings_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.yaml does not exist"):
        load_config(tmp_path / "nothing.yaml")
