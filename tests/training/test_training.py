"""Training from a store: the same seed gives the same bytes, whatever happened on the way."""

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytest
import torch
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.sae import TrainStepOutput
from safetensors.torch import load_file, save_file

from sae_lens_classif import ClassifSAETrainer, ClassifTrainingSAE
from sae_lens_classif.checksums import read_json, sha256_of_file, write_json
from sae_lens_classif.config.run import SAESettings, TrainConfig
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.store.store import ActivationStore, RowSplit
from sae_lens_classif.training.train import new_training_sae, train_classifsae, validation_measures

_STEPS, _BATCH, _D_SAE, _K = 60, 16, 96, 4
_LOG = "training_log.jsonl"

Schedule = Literal["reference", "paper"]
Keep = Literal["best", "last"]


def _settings(schedule: Schedule = "reference") -> SAESettings:
    return SAESettings(recipe="reference", d_sae=_D_SAE, k=_K, n_concepts=8, schedule=schedule)


def _train_config(keep: Keep = "last") -> TrainConfig:
    """Checkpoints after 5, 10, ... steps, where validations are too, and log lines."""
    return TrainConfig(
        total_samples=_STEPS * _BATCH + 3,
        batch_size=_BATCH,
        lr=1e-2,
        lr_end=1e-4,
        dead_after_steps=4,
        validation_share=0.2,
        keep=keep,
        n_validations=12,
        n_checkpoints=11,
        log_every=5,
        device="cpu",
    )


def _train(store: ActivationStore, settings: SAESettings, train: TrainConfig, folder: Path) -> dict[str, bytes]:
    """What a training leaves: the saved files, and the log."""
    sae = train_classifsae(store, settings, train, folder / "training")
    sae.save(folder / "saved")
    files = [*(folder / "saved").iterdir(), folder / "training" / _LOG]
    return {path.name: path.read_bytes() for path in files}


def _log_lines(log: bytes) -> list[dict[str, Any]]:
    """The lines of a log, as strict JSON, which knows no NaN."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    assert log.endswith(b"\n")
    return [json.loads(line, parse_constant=refuse) for line in log.splitlines()]


# --- the same seed, the same bytes ---


def test_the_same_seed_gives_the_same_files_and_another_seed_others(
    tmp_path: Path, train_store: ActivationStore
) -> None:
    files = []
    for number, seed in enumerate((0, 0, 1)):
        torch.manual_seed(number)  # nothing may hang on the state of torch's own generator
        train = replace(_train_config(), seed=seed)
        files.append(_train(train_store, _settings(), train, tmp_path / str(number)))
    assert set(files[0]) == {"sae_weights.safetensors", "cfg.json", _LOG}
    assert files[0] == files[1]
    assert files[0]["sae_weights.safetensors"] != files[2]["sae_weights.safetensors"]
    assert files[0][_LOG] != files[2][_LOG]


def test_the_recipe_that_asks_the_model_gives_the_same_files_too_and_goes_on_exactly(
    tmp_path: Path, train_store: ActivationStore, classifier: TextClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(_settings(), recipe="robust")

    def files(folder: Path) -> dict[str, bytes]:
        sae = train_classifsae(train_store, settings, _train_config(), folder / "training", classifier)
        sae.save(folder / "saved")
        return {path.name: path.read_bytes() for path in [*(folder / "saved").iterdir(), folder / "training" / _LOG]}

    whole = files(tmp_path / "whole")
    assert _log_lines(whole[_LOG])[-1]["validation/model_loss"] > 0
    step = ClassifSAETrainer.step
    monkeypatch.setattr(ClassifSAETrainer, "step", _dying_at(step, 33))
    with pytest.raises(KeyboardInterrupt):
        files(tmp_path / "killed")
    monkeypatch.setattr(ClassifSAETrainer, "step", step)
    assert files(tmp_path / "killed") == whole


def _dying_at(step: Callable[..., Any], number: int) -> Callable[..., Any]:
    def dying(trainer: ClassifSAETrainer, batch: torch.Tensor) -> Any:
        if trainer.n_training_steps == number:
            raise KeyboardInterrupt
        return step(trainer, batch)

    return dying


def test_the_recipe_that_asks_the_model_needs_that_of_the_states(
    train_store: ActivationStore, classifier: TextClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(_settings(), recipe="robust")
    with pytest.raises(UserError, match=r"runs the classifier on from the concepts: give it, .* recipe reference"):
        train_classifsae(train_store, settings, _train_config())
    other = copy.copy(classifier)
    other.model_fingerprint = "0" * 64
    with pytest.raises(UserError, match="was made with another model"):
        train_classifsae(train_store, settings, _train_config(), classifier=other)
    elsewhere = copy.copy(classifier)
    monkeypatch.setattr(elsewhere, "prompt_fingerprint", lambda: "0" * 64)
    with pytest.raises(UserError, match="at another hook"):
        train_classifsae(train_store, settings, _train_config(), classifier=elsewhere)


def test_concepts_start_at_clusters_whatever_the_seed(train_store: ActivationStore) -> None:
    starts = []
    for seed in (0, 1):
        train = replace(_train_config(), seed=seed)
        starts.append(new_training_sae(train_store, replace(_settings(), recipe="robust"), train))
    torch.testing.assert_close(starts[0].W_dec[:8], starts[1].W_dec[:8])
    assert not torch.equal(starts[0].W_dec[8:], starts[1].W_dec[8:])


# --- going on after a crash ---


@dataclass(frozen=True)
class _Case:
    schedule: Schedule
    keep: Keep
    window: int


_CASES = [
    _Case("reference", "last", 2000),
    _Case("reference", "best", 10),
    _Case("paper", "last", 5),
    _Case("paper", "best", 2000),
]


@pytest.fixture(params=_CASES, ids=lambda case: f"{case.schedule}-{case.keep}-window {case.window}")
def case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> _Case:
    """Settings of a training; SAELens' sparsity window is shortened, so that it ends several times on the way."""
    import sae_lens_classif.training.train as training

    case: _Case = request.param
    original = training.trainer_config

    def trainer_config(*args: Any) -> SAETrainerConfig:
        return replace(original(*args), feature_sampling_window=case.window)

    monkeypatch.setattr("sae_lens_classif.training.train.trainer_config", trainer_config)
    return case


@pytest.fixture(scope="module")
def undisturbed() -> dict[_Case, dict[str, bytes]]:
    """What each case ends with where nothing goes wrong, once it was computed."""
    return {}


class _CrashError(Exception):
    pass


def _crash_before_step(step: int) -> Callable[[pytest.MonkeyPatch], None]:
    original = ClassifSAETrainer.step

    def step_or_crash(self: ClassifSAETrainer, batch: torch.Tensor) -> TrainStepOutput:
        if self.n_training_steps == step:
            raise _CrashError
        return original(self, batch)

    return lambda patch: patch.setattr(ClassifSAETrainer, "step", step_or_crash)


def _crash_after(method: str, *steps: int) -> Callable[[pytest.MonkeyPatch], None]:
    """Crash when a method of the trainer has done its work for one of the steps."""
    original = getattr(ClassifSAETrainer, method)

    def do_and_crash(self: ClassifSAETrainer, *args: Any) -> None:
        original(self, *args)
        if self.n_training_steps in steps:
            raise _CrashError

    return lambda patch: patch.setattr(ClassifSAETrainer, method, do_and_crash)


@pytest.mark.parametrize(
    "crashes",
    [
        [_crash_before_step(3)],
        [_crash_before_step(_STEPS // 2 + 1)],
        [_crash_before_step(21), _crash_before_step(21), _crash_before_step(22), _crash_before_step(59)],
        [_crash_after("save_checkpoint", 5, 6), _crash_after("save_checkpoint", 30, 31)],
        [_crash_after("save_trainer_state", 25, 26), _crash_after("save_trainer_state", 30, 31)],
        [_crash_after("_log", 15), _crash_after("_run_validation", 40), _crash_after("_run_validation", _STEPS)],
    ],
    ids=["before a checkpoint", "in the second half", "four times", "after a checkpoint", "in one", "after a line"],
)
def test_a_training_that_crashed_ends_with_the_files_of_one_that_did_not(
    tmp_path: Path, train_store: ActivationStore, case: _Case, undisturbed: dict[_Case, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch, crashes: list[Callable[[pytest.MonkeyPatch], None]],
) -> None:  # fmt: skip
    settings, train = _settings(case.schedule), _train_config(case.keep)
    if case not in undisturbed:
        undisturbed[case] = _train(train_store, settings, train, tmp_path / "undisturbed")
    for crash in crashes:
        with monkeypatch.context() as patch, pytest.raises(_CrashError):
            crash(patch)
            _train(train_store, settings, train, tmp_path)
    files = _train(train_store, settings, train, tmp_path)
    assert files[_LOG].decode() == undisturbed[case][_LOG].decode()
    assert files == undisturbed[case]


def test_the_cases_above_cross_dead_latents_and_the_end_of_saelens_sparsity_window(
    tmp_path: Path, train_store: ActivationStore
) -> None:
    files = _train(train_store, _settings(), _train_config(), tmp_path)
    dead = [line["sparsity/dead_features"] for line in _log_lines(files[_LOG]) if "sparsity/dead_features" in line]
    assert min(dead) == 0 and max(dead) > 0
    assert len(set(dead)) > 2
    saved = [int(path.name) for path in (tmp_path / "training" / "checkpoints").iterdir()]
    assert saved == [(_STEPS - 5) * _BATCH], "only the last one is kept"


def test_a_line_that_was_cut_short_is_forgotten(tmp_path: Path, train_store: ActivationStore) -> None:
    settings, train = _settings(), _train_config()
    undisturbed = _train(train_store, settings, train, tmp_path / "undisturbed")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(_CrashError):
        _crash_before_step(24)(patch)
        _train(train_store, settings, train, tmp_path)
    with (tmp_path / "training" / _LOG).open("a") as log:
        log.write('{"step": 24, "losses/over')
    assert _train(train_store, settings, train, tmp_path) == undisturbed


def test_a_finished_training_whose_folder_is_still_there_gives_the_same_again(
    tmp_path: Path, train_store: ActivationStore
) -> None:
    settings, train = _settings(), _train_config("best")
    first, again = (_train(train_store, settings, train, tmp_path) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("window", [2, 5, 7, 10, 20, 2000])
@pytest.mark.parametrize("every", [1, 3, 5, 10, 20, 40])
def test_each_checkpoint_comes_when_it_is_due_and_never_where_saelens_sparsity_window_is_empty(
    train_store: ActivationStore, every: int, window: int
) -> None:
    cfg = SAETrainerConfig(
        total_training_samples=100, train_batch_size_samples=1, lr_end=0.0, feature_sampling_window=window
    )
    sae = new_training_sae(train_store, _settings(), _train_config())
    trainer = ClassifSAETrainer(cfg, sae, iter([]), checkpoint_every=every)
    steps = [step for step in range(1, 202) if trainer._is_checkpoint_step(step)]
    assert [step for step in steps if step % window == 0] == []
    missing = [due for due in range(every, 201, every) if due not in steps and due + 1 not in steps]
    assert missing == [], f"saved after {steps}"


@pytest.mark.parametrize("change", ["sae", "train", "store"])
def test_an_unfinished_training_of_other_settings_or_states_is_refused(
    tmp_path: Path, train_store: ActivationStore, test_store: ActivationStore, change: str
) -> None:
    settings, train = _settings(), _train_config()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(_CrashError):
        _crash_before_step(13)(patch)
        train_classifsae(train_store, settings, train, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=rf"{tmp_path} was made with .*{change}.*unfinished training; delete it"):
        train_classifsae(
            test_store if change == "store" else train_store,
            replace(settings, gamma=0.2) if change == "sae" else settings,
            replace(train, lr=2e-2) if change == "train" else train,
            tmp_path,
        )
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


# --- which weights are kept ---


def _validation_losses(log: bytes) -> dict[int, float]:
    return {line["step"]: line["validation/loss"] for line in _log_lines(log) if "validation/loss" in line}


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_weights_that_are_kept_have_the_validation_loss_of_the_log(
    tmp_path: Path, train_store: ActivationStore, keep: Keep
) -> None:
    train = _train_config(keep)
    sae = train_classifsae(train_store, _settings(), train, tmp_path)
    losses = _validation_losses((tmp_path / _LOG).read_bytes())
    assert list(losses) == [*range(5, _STEPS + 1, 5)]
    split = train_store.training_rows(train.validation_share, train.seed)
    expected = min(losses.values()) if keep == "best" else losses[_STEPS]
    assert validation_measures(sae, train_store, split, _BATCH)["loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("keep", "kept"), [("best", 2), ("last", -1)])
def test_the_best_weights_are_those_of_the_lowest_validation_loss_wherever_that_was(
    train_store: ActivationStore, monkeypatch: pytest.MonkeyPatch, keep: Keep, kept: int
) -> None:
    """Which validation has the lowest loss is laid down here: a training that diverges does so otherwise elsewhere."""
    measured: list[float] = []

    def lowest_in_the_third_place(sae: ClassifTrainingSAE, **arguments: Any) -> dict[str, float]:
        measures = validation_measures(sae, **arguments)
        measured.append(measures["loss"])
        return {**measures, "loss": float(abs(len(measured) - 3))}

    monkeypatch.setattr("sae_lens_classif.training.train.validation_measures", lowest_in_the_third_place)
    train = _train_config(keep)
    sae = train_classifsae(train_store, _settings(), train)
    assert len(set(measured)) == len(measured) > 3
    split = train_store.training_rows(train.validation_share, train.seed)
    assert validation_measures(sae, train_store, split, _BATCH)["loss"] == pytest.approx(measured[kept], rel=1e-6)


def test_keeping_the_best_of_no_held_out_text_is_refused_before_training(
    tmp_path: Path, train_store: ActivationStore
) -> None:
    train = replace(_train_config("best"), validation_share=0.004)  # of 240 texts: none
    with pytest.raises(UserError, match=r"train\.validation_share"):
        train_classifsae(train_store, _settings(), train, tmp_path / "training")
    assert not (tmp_path / "training" / _LOG).exists()


def test_of_many_held_out_texts_only_the_first_are_looked_at(
    train_store: ActivationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sae_lens_classif.training.train._MAX_VALIDATED", 2 * _BATCH)
    sae = new_training_sae(train_store, _settings(), _train_config())
    n = len(train_store)
    many, few = (RowSplit(n, n_held_out, n - n_held_out, seed=0) for n_held_out in (5 * _BATCH, 2 * _BATCH))
    assert validation_measures(sae, train_store, many, _BATCH) == validation_measures(sae, train_store, few, _BATCH)


def test_a_last_held_out_batch_of_one_text_does_not_decide_the_validation_loss(
    train_store: ActivationStore,
) -> None:
    sae = new_training_sae(train_store, _settings(), _train_config())
    whole, and_one = (
        validation_measures(sae, train_store, RowSplit(len(train_store), n, len(train_store) - n, seed=0), _BATCH)[
            "mse_loss"
        ]
        for n in (2 * _BATCH, 2 * _BATCH + 1)
    )
    # The same 32 texts and one more of the same kind.
    assert and_one == pytest.approx(whole, rel=0.5)


def test_the_held_out_texts_are_not_trained_on(
    tmp_path: Path, train_store: ActivationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    original = ClassifSAETrainer.step

    def step(self: ClassifSAETrainer, batch: torch.Tensor) -> TrainStepOutput:
        seen.append(batch[:, :-1])
        return original(self, batch)

    monkeypatch.setattr(ClassifSAETrainer, "step", step)
    train = _train_config()
    train_classifsae(train_store, _settings(), train, tmp_path)
    split = train_store.training_rows(train.validation_share, train.seed)
    held_out = torch.cat(list(train_store.held_out_batches(_BATCH, split)))[:, :-1]
    assert len(seen) == _STEPS and len(held_out) == 48
    trained_on = {tuple(row) for row in torch.cat(seen).tolist()}
    assert not trained_on & {tuple(row) for row in held_out.tolist()}


# --- the log ---


@pytest.mark.parametrize("schedule", ["reference", "paper"])
def test_the_log_holds_the_losses_and_measures_of_the_steps_that_were_asked_for(
    tmp_path: Path, train_store: ActivationStore, schedule: Schedule
) -> None:
    log = _train(train_store, _settings(schedule), _train_config(), tmp_path)[_LOG]
    steps = [line for line in _log_lines(log) if "validation/loss" not in line]
    assert [line["step"] for line in steps] == list(range(0, _STEPS, 5))
    for line in steps:
        falling = 0.02 * (1 - line["step"] / _STEPS if schedule == "paper" else 1)
        reconstruction = line["losses/mse_loss"] + line.get("losses/ghost_gradient_loss", 0.0)
        total = falling * (reconstruction + line["losses/activation_rate_loss"]) + line["losses/classifier_loss"]
        assert line["losses/overall_loss"] == pytest.approx(total, rel=1e-4)
        assert line["metrics/explained_variance"] <= 1
        assert 0 <= line["metrics/l0"] <= _K
        assert 0 <= line["metrics/classifier_accuracy"] <= 1
        assert line["sparsity/dead_features"] in range(_D_SAE + 1)
        assert line["details/n_training_samples"] == (line["step"] + 1) * _BATCH
    assert any("losses/ghost_gradient_loss" in line for line in steps)
    first, last = steps[0], steps[-1]
    assert last["metrics/explained_variance"] > first["metrics/explained_variance"]
    assert last["metrics/classifier_accuracy"] > 0.9


@pytest.mark.filterwarnings("ignore:std.*degrees of freedom:UserWarning")
def test_a_log_line_is_json_even_where_a_measure_is_not_a_number(tmp_path: Path, train_store: ActivationStore) -> None:
    # The variance of a batch of one text is 0, and the share of it that is explained not defined.
    train = replace(_train_config(), total_samples=10, batch_size=1, validation_share=0.0)
    assert len(_log_lines(_train(train_store, _settings(), train, tmp_path)[_LOG])) == 2


def test_nothing_is_written_where_no_folder_is_given(
    tmp_path: Path, train_store: ActivationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sae = train_classifsae(train_store, _settings(), _train_config("best"))
    assert isinstance(sae, ClassifTrainingSAE)
    assert list(tmp_path.iterdir()) == []


# --- states that cannot be trained on ---


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("predicted", 3, r"classes .*0\.\.3; .*0\.\.2"),
        ("predicted", -1, r"classes .*-1\.\.[12]; .*0\.\.2"),
        ("hidden", torch.nan, "not finite.*`cache`"),
        ("hidden", torch.inf, "not finite.*`cache`"),
    ],
)
def test_labels_out_of_range_and_states_that_are_not_finite_are_errors(
    tmp_path: Path, train_store: ActivationStore, column: str, value: float, message: str
) -> None:
    shutil.copytree(train_store.folder, tmp_path / "store")
    shard = tmp_path / "store" / "shard_00001.safetensors"
    tensors = load_file(shard)
    tensors[column].view(-1)[10] = value
    save_file(tensors, shard)
    manifest = read_json(tmp_path / "store" / "manifest.json")
    manifest["sha256"][shard.name] = sha256_of_file(shard)
    write_json(tmp_path / "store" / "manifest.json", manifest)
    train = replace(_train_config(), validation_share=0.0)
    with pytest.raises(UserError, match=message):
        train_classifsae(ActivationStore(tmp_path / "store"), _settings(), train, tmp_path / "training")
