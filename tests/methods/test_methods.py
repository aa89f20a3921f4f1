"""Concept methods behind one interface: fitting, encoding, decoding, saving; ICA, the probe and guest SAEs by hand."""

import json
import math
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self
from unittest import mock

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sae_lens import (
    SAE,
    GatedSAE,
    GatedSAEConfig,
    JumpReLUSAE,
    JumpReLUSAEConfig,
    StandardSAE,
    StandardSAEConfig,
    TopKSAE,
    TopKSAEConfig,
)
from safetensors.torch import load_file, save_file
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from sae_lens_classif.checksums import read_json, write_json
from sae_lens_classif.config.methods import BaselineConfig
from sae_lens_classif.config.run import SAESettings, TrainConfig
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.methods import base, classif_sae, ica, sae_probe
from sae_lens_classif.methods.base import ConceptMethod, FitTask, built_in_methods, load_method
from sae_lens_classif.methods.classif_sae import ClassifSAEConcepts, fit_permuted_labels
from sae_lens_classif.methods.find import find_method
from sae_lens_classif.methods.ica import ICAConcepts
from sae_lens_classif.methods.l1_regression import Coefficients, LabelledLatents
from sae_lens_classif.methods.listing import titles
from sae_lens_classif.methods.random_directions import RandomDirections
from sae_lens_classif.methods.sae_probe import SAEProbeConcepts, load_sae, probe_latents
from sae_lens_classif.saes.classif_sae import ClassifSAE
from sae_lens_classif.saes.concept_start import cluster_start
from sae_lens_classif.store.store import ActivationStore
from sae_lens_classif.training.train import made_from

Array = npt.NDArray[np.float64]
N = 6
SMALL = SAESettings(d_sae=32, k=4, n_concepts=5)
TRAIN = TrainConfig(total_samples=2000, batch_size=50, lr=5e-3, seed=8, device="cpu")
QUICK = BaselineConfig(epochs=2, batch_size=64, hidden_dim=16)
BUILT_IN = built_in_methods()
every_method = pytest.mark.parametrize("name", sorted(BUILT_IN))


@pytest.fixture(scope="module")
def task(train_store: ActivationStore, classifier: TextClassifier) -> FitTask:
    return FitTask(train_store, classifier, n_concepts=N, sae=SMALL, train=TRAIN, baselines=QUICK)


@pytest.fixture(scope="module")
def fitted(task: FitTask) -> Mapping[str, ConceptMethod]:
    return {name: spec.fit(task) for name, spec in BUILT_IN.items()}


@pytest.fixture(scope="module")
def saved(fitted: Mapping[str, ConceptMethod], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every fitted method under its name."""
    folder = tmp_path_factory.mktemp("saved")
    for name, method in fitted.items():
        method.save(folder / name)
    return folder


@pytest.fixture
def own_classes() -> Iterator[None]:
    """Classes that a test defines are forgotten after it."""
    with mock.patch.dict(base.REGISTRY):
        yield


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _states(seed: int = 0, n_texts: int = 20, d_in: int = 8) -> torch.Tensor:
    return 3 * torch.randn(n_texts, d_in, generator=torch.Generator().manual_seed(seed)) + 1


# --- the interface ---


@every_method
def test_every_method_turns_hidden_states_into_concepts_and_back(
    name: str, fitted: Mapping[str, ConceptMethod], task: FitTask
) -> None:
    method, hidden = fitted[name], task.hidden
    concepts = method.encode(hidden)
    decoded = method.decode(concepts)
    assert (concepts.shape, concepts.dtype) == ((len(hidden), N), torch.float32)
    assert (decoded.shape, decoded.dtype) == (hidden.shape, torch.float32)
    assert concepts.isfinite().all() and decoded.isfinite().all()
    assert not concepts.requires_grad and not decoded.requires_grad
    directions = method.directions()
    assert directions is not None
    assert (directions.shape, directions.dtype) == ((N, 32), torch.float32)
    assert not directions.requires_grad


@every_method
def test_the_concepts_of_a_text_do_not_depend_on_the_texts_beside_it(
    name: str, fitted: Mapping[str, ConceptMethod], task: FitTask
) -> None:
    together = fitted[name].encode(task.hidden[:9])
    alone = torch.cat([fitted[name].encode(row) for row in task.hidden[:9].split(1)])
    torch.testing.assert_close(alone, together)


@every_method
def test_what_concepts_stand_for_does_not_depend_on_what_was_encoded_last(
    name: str, fitted: Mapping[str, ConceptMethod], task: FitTask
) -> None:
    method = fitted[name]
    concepts = method.encode(task.hidden[:5])
    decoded = method.decode(concepts)
    method.encode(1000 * task.hidden[5:7])
    assert torch.equal(method.decode(concepts), decoded)


@every_method
def test_one_seed_gives_the_same_bytes(name: str, saved: Path, task: FitTask, tmp_path: Path) -> None:
    BUILT_IN[name].fit(task).save(tmp_path / "again")
    assert _files(tmp_path / "again") == _files(saved / name)


@pytest.mark.parametrize("name", sorted(BUILT_IN.keys() - {"clusters"}))
def test_another_seed_gives_other_concepts(
    name: str, fitted: Mapping[str, ConceptMethod], task: FitTask, train_store: ActivationStore
) -> None:
    other = BUILT_IN[name].fit(replace(task, seed=1))
    assert not torch.equal(other.encode(task.hidden), fitted[name].encode(task.hidden))


@every_method
def test_a_saved_method_is_read_bit_for_bit(
    name: str, fitted: Mapping[str, ConceptMethod], saved: Path, task: FitTask, tmp_path: Path
) -> None:
    loaded, original = load_method(saved / name), fitted[name]
    assert type(loaded) is type(original)
    assert loaded.notes == original.notes
    concepts = original.encode(task.hidden)
    assert torch.equal(loaded.encode(task.hidden), concepts)
    assert torch.equal(loaded.decode(concepts), original.decode(concepts))
    assert (loaded.autoencoder() is None) == (original.autoencoder() is None)
    loaded.save(tmp_path / "again")
    assert _files(tmp_path / "again") == _files(saved / name)


# Loads every method by the package's name alone, then a guest SAE of a Hub that is not there.
_IN_ANOTHER_PROCESS = """
import json, sys, time, traceback
from pathlib import Path
from safetensors.torch import load_file, save_file
import sae_lens_classif
saved, out = map(Path, sys.argv[1:])
hidden = load_file(out / "hidden.safetensors")["hidden"]
error, found = None, {}
try:
    for folder in sorted(saved.iterdir()):
        method = sae_lens_classif.load_method(folder)
        concepts = method.encode(hidden)
        found |= {f"{folder.name}.encode": concepts, f"{folder.name}.decode": method.decode(concepts)}
        method.save(out / "again" / folder.name)
    save_file({name: value.clone() for name, value in found.items()}, out / "found.safetensors")
except Exception:
    error = traceback.format_exc()

from sae_lens_classif.methods.find import find_method
start = time.monotonic()
try:
    find_method("sae:gpt2-small-res-jb:blocks.8.hook_resid_pre")
except sae_lens_classif.UserError as refused:
    answer = {"error": error, "refusal": str(refused), "seconds": time.monotonic() - start}
    (out / "answer.json").write_text(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def elsewhere(saved: Path, task: FitTask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a process of its own, without a network, read, and what it was told."""
    folder = tmp_path_factory.mktemp("elsewhere")
    save_file({"hidden": task.hidden}, folder / "hidden.safetensors")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(folder / "hugging_face")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _IN_ANOTHER_PROCESS, str(saved), str(folder)],
        env={**environment, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_another_process_that_imports_the_package_alone_reads_every_method_bit_for_bit(
    fitted: Mapping[str, ConceptMethod], saved: Path, task: FitTask, elsewhere: Path
) -> None:
    error = read_json(elsewhere / "answer.json")["error"]
    assert error is None, error
    found = load_file(elsewhere / "found.safetensors")
    for name, method in fitted.items():
        concepts = method.encode(task.hidden)
        assert torch.equal(found[f"{name}.encode"], concepts), name
        assert torch.equal(found[f"{name}.decode"], method.decode(concepts)), name
        assert _files(elsewhere / "again" / name) == _files(saved / name), name


def test_nothing_is_pickled(saved: Path) -> None:
    assert {path.suffix for path in saved.rglob("*") if path.is_file()} == {".json", ".safetensors"}


def _alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize("file", ["method.safetensors", "saelens_sae/sae_weights.safetensors", "saelens_sae/cfg.json"])
@pytest.mark.parametrize(
    ("damage", "words"), [(_alter, "was altered"), (_cut, "was altered"), (Path.unlink, "is missing")]
)
def test_a_damaged_file_is_refused_by_name(
    saved: Path, tmp_path: Path, file: str, damage: Callable[[Path], None], words: str
) -> None:
    folder = _copy(saved / "topk_sae", tmp_path / "method")
    damage(folder / file)
    with pytest.raises(UserError, match=rf"{file} {words}; delete .*method and fit the method again"):
        load_method(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b'{"method": "ica", "val', "not valid JSON"),
        (b"\xff\xfe\x00garbage", "method.json"),
        (b"{}", "method.json"),
        (b"[]", "method.json"),
        (b'{"method": "ica"}', "method.json"),
    ],
)
def test_a_method_json_that_is_none_is_refused(saved: Path, tmp_path: Path, content: bytes | None, words: str) -> None:
    folder = _copy(saved / "ica", tmp_path / "method")
    (folder / "method.json").unlink()
    if content is not None:
        (folder / "method.json").write_bytes(content)
    with pytest.raises(UserError, match=words):
        load_method(folder)


def test_a_value_that_was_altered_in_method_json_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = _copy(saved / "concept_shap", tmp_path / "method")
    text = (folder / "method.json").read_text()
    assert '"threshold": 0.3' in text
    (folder / "method.json").write_text(text.replace('"threshold": 0.3', '"threshold": 0.7'))
    with pytest.raises(UserError, match=r"method\.json was altered"):
        load_method(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"values": {"strange": 1}}, r"method\.json is not what ica writes \(TypeError"),
        ({"saes": ["nowhere"]}, r"method\.json is not what ica writes \(FileNotFoundError"),
        ({"method": "random_directions"}, r"method\.json is not what random_directions writes \(TypeError"),
        ({"sha256": {}}, r"method\.json says nothing of method\.safetensors"),
    ],
)
def test_a_method_json_that_was_changed_and_signed_anew_is_refused_in_words(
    saved: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    folder = _copy(saved / "ica", tmp_path / "method")
    write_json(folder / "method.json", {**read_json(folder / "method.json"), **change})
    with pytest.raises(UserError, match=words):
        load_method(folder)


def _copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def test_a_method_of_another_class_is_refused_by_its_name(saved: Path) -> None:
    with pytest.raises(UserError, match=r"'random_directions', .*'ica'.*load_method"):
        ICAConcepts.load(saved / "random_directions")


@pytest.mark.usefixtures("own_classes")
def test_a_method_of_a_class_that_is_not_imported_says_what_to_do(tmp_path: Path) -> None:
    @dataclass
    class Mine(_Own, name="random_direction"):
        values: torch.Tensor

    Mine(torch.ones(2)).save(tmp_path / "mine")
    del base.REGISTRY["random_direction"]
    with pytest.raises(UserError, match=r"'random_direction', which no class has; import the module .*'random_dir"):
        load_method(tmp_path / "mine")


class _Own(ConceptMethod):
    """A method that has yet to be given its fields."""

    @classmethod
    def fit(cls, task: FitTask) -> Self:
        raise NotImplementedError

    def encode(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden

    def decode(self, concepts: torch.Tensor) -> torch.Tensor:
        return concepts


@pytest.mark.usefixtures("own_classes")
def test_tensors_of_any_kind_plain_values_and_notes_of_a_user_s_method_are_kept(tmp_path: Path) -> None:
    @dataclass
    class Kinds(_Own, name="kinds"):
        double: torch.Tensor
        truth: torch.Tensor
        transposed: torch.Tensor
        scalar: torch.Tensor
        words: list[str]
        nested: list[list[float]]
        number: float = 0.0
        nothing: str | None = "something"
        flag: bool = False

    matrix = torch.arange(6.0).reshape(2, 3)
    original = Kinds(
        double=torch.tensor([0.1, 1e-300], dtype=torch.float64),
        truth=torch.tensor([True, False]),
        transposed=matrix.T,
        scalar=torch.tensor(7),
        words=["–", "\u2028", '"'],
        nested=[[0.1, 1e-300], []],
        number=1 / 3,
        nothing=None,
        flag=True,
    )
    original.notes = ("one", "two: „…“")
    original.save(tmp_path / "kinds")
    loaded = load_method(tmp_path / "kinds")
    assert isinstance(loaded, Kinds)
    for name in ("double", "truth", "transposed", "scalar"):
        own, read = getattr(original, name), getattr(loaded, name)
        assert torch.equal(own, read) and own.dtype == read.dtype and own.shape == read.shape
    for name in ("words", "nested", "number", "nothing", "flag", "notes"):
        assert getattr(loaded, name) == getattr(original, name)


@pytest.mark.usefixtures("own_classes")
def test_two_tensors_that_are_one_in_memory_are_saved(tmp_path: Path) -> None:
    @dataclass
    class Tied(_Own, name="tied"):
        encoder: torch.Tensor
        decoder: torch.Tensor

    matrix = torch.arange(6.0).reshape(2, 3)
    Tied(matrix, matrix[:1]).save(tmp_path / "tied")
    loaded = load_method(tmp_path / "tied")
    assert isinstance(loaded, Tied)
    assert torch.equal(loaded.encoder, matrix) and torch.equal(loaded.decoder, matrix[:1])


@pytest.mark.usefixtures("own_classes")
def test_a_method_that_is_no_dataclass_is_told_to_be_one(tmp_path: Path) -> None:
    class Bare(_Own, name="bare"):
        pass

    with pytest.raises(UserError, match=r"Bare .*@dataclass"):
        Bare().save(tmp_path / "bare")
    assert not list(tmp_path.iterdir())


def test_saving_over_a_method_replaces_it_wholly(
    saved: Path, fitted: Mapping[str, ConceptMethod], tmp_path: Path
) -> None:
    folder = _copy(saved / "topk_sae", tmp_path / "method")
    fitted["ica"].save(folder)
    assert _files(folder) == _files(saved / "ica")
    assert list(tmp_path.iterdir()) == [folder]


# --- what each kind of ClassifSAE is trained with ---


class _StopError(Exception):
    """Raised in place of a training."""


@pytest.fixture
def trained_with(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Gets store, SAE settings and training settings of each training that would have been done."""
    seen: list[Any] = []

    def spy(*arguments: Any, classifier: TextClassifier) -> None:
        seen.extend(arguments)
        raise _StopError

    monkeypatch.setattr(classif_sae, "train_classifsae", spy)
    return seen


@pytest.mark.parametrize(
    ("name", "recipe", "weights", "head"),
    [
        ("classifsae", "robust", (0.02, 0.02, 1.0), N),
        ("classifsae_reference", "reference", (0.02, 0.02, 1.0), N),
        ("topk_sae", "reference", (1.0, 0.0, 0.0), N),
        ("classifier_only", "reference", (0.02, 0.0, 1.0), N),
        ("rate_only", "reference", (0.02, 0.02, 0.0), N),
        ("all_latents", "reference", (0.02, 0.02, 1.0), 32),
        ("permuted_labels", "robust", (0.02, 0.02, 1.0), N),
    ],
)
def test_a_method_trains_an_sae_with_its_own_loss_and_the_task_s_seed_and_concepts(
    name: str, recipe: str, weights: tuple[float, float, float], head: int, task: FitTask, trained_with: list[Any]
) -> None:
    with pytest.raises(_StopError):
        BUILT_IN[name].fit(replace(task, seed=3))
    _, sae, train = trained_with
    assert (sae.mse_coefficient, sae.activation_rate_coefficient, sae.classifier_coefficient) == weights
    assert (sae.n_concepts, sae.recipe) == (head, recipe)
    assert sae.sized(3, 32).k_concepts == (1 if recipe == "robust" else 0)
    assert sae.sized(3, 32).asks_model == (recipe == "robust")
    assert replace(sae, **{field: getattr(SMALL, field) for field in _OWN}) == SMALL
    assert train == replace(TRAIN, seed=3)


_OWN = (
    "mse_coefficient", "activation_rate_coefficient", "classifier_coefficient", "n_concepts", "recipe", "k_concepts",
    "concept_init", "model_coefficient", "balance_coefficient",
)  # fmt: skip


def test_clusters_are_the_start_of_the_recipe_robust_whatever_the_run_s_is(
    task: FitTask, fitted: Mapping[str, ConceptMethod], trained_with: list[Any]
) -> None:
    method = fitted["clusters"]
    states = (math.sqrt(32) * torch.nn.functional.normalize(task.hidden, dim=1)).float()
    start = cluster_start(states, task.predicted, N)
    torch.testing.assert_close(method.directions(), start.directions)
    along = (states - start.centre) @ start.directions.T
    nearest = torch.nn.functional.one_hot(along.argmax(dim=1), N)
    torch.testing.assert_close(method.encode(task.hidden), (along * nearest).clamp(min=0), rtol=1e-4, atol=1e-4)
    paper = replace(SMALL, recipe="reference", concept_init="random", k_concepts=3)
    for other in (replace(task, seed=5), replace(task, sae=paper)):
        again = BUILT_IN["clusters"].fit(other)
        concepts = again.encode(task.hidden)
        assert torch.equal(concepts, method.encode(task.hidden))
        assert torch.equal(again.decode(concepts), method.decode(concepts))
    assert not trained_with


def test_permuted_labels_are_the_same_classes_on_other_texts(task: FitTask, trained_with: list[Any]) -> None:
    stores = []
    for seed in (0, 0, 1):
        with pytest.raises(_StopError):
            fit_permuted_labels(replace(task, seed=seed))
        stores.append(trained_with[0])
        trained_with.clear()
    original = task.store.read("predicted")
    first, again, other = (store.read("predicted") for store in stores)
    for labels in (first, other):
        assert torch.equal(labels.bincount(), original.bincount())
        # By chance a third would be the same.
        assert (labels == original).double().mean() < 0.55
    assert torch.equal(first, again) and not torch.equal(first, other)
    prints = [store.fingerprint() for store in (task.store, *stores)]
    assert prints[1] == prints[2] and len(set(prints)) == 3
    assert all(torch.equal(store.read("hidden"), task.store.read("hidden")) for store in stores)


def test_a_relabelled_store_serves_the_new_classes_with_their_own_rows_and_leaves_the_original_alone(
    train_store: ActivationStore,
) -> None:
    predicted = train_store.read("predicted")
    fingerprint = train_store.fingerprint()
    numbered = torch.arange(len(train_store))
    other = train_store.relabelled(numbered)
    split = other.training_rows(0.25, seed=2)
    hidden = train_store.read("hidden").float()
    for batch in (next(other.batches(70, split)), *other.held_out_batches(70, split)):
        assert torch.equal(batch[:, :-1], hidden[batch[:, -1].long()])
    assert torch.equal(other.rows("predicted", np.array([5, 3])), torch.tensor([5, 3]))
    assert torch.equal(train_store.read("predicted"), predicted)
    assert train_store.fingerprint() == fingerprint != other.fingerprint()


def test_a_share_of_the_training_rows_is_part_of_every_larger_one_and_none_is_held_out(
    train_store: ActivationStore,
) -> None:
    rows = {}
    for share, n_training in ((0.01, 1), (0.25, 45), (0.5, 90), (1.0, 180)):
        split = train_store.training_rows(0.25, seed=2, share=share)
        assert (split.n_rows, split.n_held_out, split.n_training) == (240, 60, n_training)
        epoch = np.arange(split.n_training)
        rows[share] = set(split.training(epoch).tolist())
        assert len(rows[share]) == split.n_training
        assert set(split.training(epoch + 7 * split.n_training).tolist()) == rows[share]
        assert not rows[share] & set(split.held_out(np.arange(60)).tolist())
    assert rows[0.01] < rows[0.25] < rows[0.5] < rows[1.0]


def test_a_share_that_leaves_no_row_to_train_on_is_refused(train_store: ActivationStore) -> None:
    with pytest.raises(UserError, match="240 texts"):
        train_store.training_rows(0.25, seed=0, share=1 / 181)
    assert train_store.training_rows(0.25, seed=0, share=1 / 180).n_training == 1


# --- ClassifSAE, random directions, ICA ---


def test_the_concepts_of_a_classifsae_are_its_first_latents_among_which_one_a_text_is_taken(
    fitted: Mapping[str, ConceptMethod], task: FitTask
) -> None:
    method = fitted["classifsae"]
    assert isinstance(method, ClassifSAEConcepts)
    sae = method.autoencoder()
    assert isinstance(sae, ClassifSAE)
    W_enc, b_enc, W_dec, b_dec = (
        getattr(sae, name).detach().double().numpy() for name in ("W_enc", "b_enc", "W_dec", "b_dec")
    )
    x = task.hidden.double().numpy()
    pre = x * math.sqrt(32) / np.linalg.norm(x, axis=1, keepdims=True) @ W_enc + b_enc
    pre = pre[:, :N]
    latents = np.where(pre >= pre.max(axis=1)[:, None], np.maximum(pre, 0), 0)
    np.testing.assert_allclose(method.encode(task.hidden), latents, rtol=1e-4, atol=1e-5)
    concepts = np.abs(np.random.default_rng(0).normal(size=(3, N)))
    np.testing.assert_allclose(
        method.decode(torch.from_numpy(concepts).float()), concepts @ W_dec[:N] + b_dec, rtol=1e-4, atol=1e-5
    )
    directions = method.directions()
    np.testing.assert_allclose(directions, W_dec[:N], rtol=1e-6)


def test_random_directions_have_unit_norm_and_fire_where_a_centred_state_points_their_way(
    fitted: Mapping[str, ConceptMethod], task: FitTask
) -> None:
    method = fitted["random_directions"]
    assert isinstance(method, RandomDirections)
    v, x = method.directions().double().numpy(), task.hidden.double().numpy()
    np.testing.assert_allclose(np.linalg.norm(v, axis=1), 1, rtol=1e-6)
    expected = np.maximum((x - x.mean(axis=0)) @ v.T, 0)
    np.testing.assert_allclose(method.encode(task.hidden), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        method.decode(torch.from_numpy(expected).float()), expected @ v + x.mean(axis=0), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("seed", [0, 3])
def test_ica_is_scikit_learn_s(seed: int, task: FitTask) -> None:
    x = task.hidden.double().numpy()
    reference = FastICA(N, whiten="unit-variance", max_iter=1000, random_state=42 + seed)
    components = reference.fit_transform(x)
    method = ICAConcepts.fit(replace(task, seed=seed))
    assert method.notes == ()
    encoded = method.encode(task.hidden)
    np.testing.assert_allclose(encoded, components, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(encoded.double().std(dim=0, correction=0), 1, rtol=1e-4)
    np.testing.assert_allclose(method.decode(encoded), reference.inverse_transform(components), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(method.directions(), reference.mixing_.T, rtol=1e-5, atol=1e-7)


def test_ica_that_does_not_converge_says_so_and_says_it_again_when_it_is_read(task: FitTask, tmp_path: Path) -> None:
    method = ICAConcepts.fit(replace(task, baselines=replace(QUICK, ica_max_iter=1)))
    assert method.notes == ("FastICA did not converge in 1 iterations (baselines.ica_max_iter)",)
    method.save(tmp_path / "ica")
    assert load_method(tmp_path / "ica").notes == method.notes


def test_ica_of_more_components_than_the_hidden_states_have_is_refused(task: FitTask) -> None:
    with pytest.raises(UserError, match=r"33 components in 240 hidden states of width 32; set sae\.n_concepts to at m"):
        ICAConcepts.fit(replace(task, n_concepts=33))


# --- the probe ---


def _independent_probe(latents: torch.Tensor, predicted: torch.Tensor, n: int, seed: int, max_iter: int) -> list[int]:
    """SPEC.md section 3, with one regression after another."""
    x, y = StandardScaler().fit_transform(latents.double().numpy()), predicted.numpy()

    def fit(strength: float, rows: npt.NDArray[np.int64]) -> Any:
        model = LogisticRegression(
            C=strength, l1_ratio=1.0, solver="saga", class_weight="balanced", max_iter=max_iter, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(x[rows], y[rows])

    folds = list(StratifiedKFold(3, shuffle=True, random_state=seed).split(x, y))
    accuracy = {
        strength: np.mean([fit(strength, train).score(x[test], y[test]) for train, test in folds])
        for strength in (0.01, 0.1, 1.0)
    }
    best = max(accuracy, key=lambda strength: accuracy[strength])
    norms = np.linalg.norm(fit(best, np.arange(len(y))).coef_, axis=0)
    chosen: list[int] = np.argsort(-norms, kind="stable")[:n].tolist()
    return chosen


def _planted(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents of which 7, 2 and 9 tell three classes of unlike size apart, 7 best; the others are noise, 4 is dead."""
    random = np.random.default_rng(seed)
    y = np.repeat([0, 1, 2], [200, 70, 30])
    x = random.exponential(size=(300, 12)) * (random.random((300, 12)) < 0.3)
    for latent, class_, share in ((7, 0, 0.95), (2, 1, 0.85), (9, 2, 0.75)):
        hits = np.where(y == class_, share, 1 - share)
        x[:, latent] = (random.random(300) < hits) * (1 + random.random(300))
    x[:, 7] *= 1e-4  # what counts is not the scale
    x[:, 5] *= 1e4
    x[:, 4] = 0
    order = random.permutation(300)
    return torch.from_numpy(x[order]), torch.from_numpy(y[order])


@pytest.mark.parametrize("seed", [0, 3])
def test_the_probe_takes_the_latents_that_tell_the_classes_apart(seed: int) -> None:
    latents, predicted = _planted(seed)
    chosen, notes = probe_latents(latents, predicted, 3, BaselineConfig(), seed)
    assert notes == ()
    assert set(chosen.tolist()) == {2, 7, 9}
    assert chosen.tolist() == _independent_probe(latents, predicted, 3, seed, 5000)


def test_the_concepts_of_a_guest_are_the_latents_that_the_probe_takes(task: FitTask, tmp_path: Path) -> None:
    sae = load_sae(str(write_sae(tmp_path / "guest", d_in=32, d_sae=24)))
    method = SAEProbeConcepts.from_sae(sae, replace(task, seed=4, baselines=QUICK))
    latents = sae.encode(task.hidden).detach()
    chosen, _ = probe_latents(latents, task.predicted, N, QUICK, 4)
    assert torch.equal(method.latents, chosen)
    assert torch.equal(method.encode(task.hidden), latents[:, method.latents])
    torch.testing.assert_close(method.directions(), sae.W_dec[method.latents].detach())


def test_a_probe_that_does_not_converge_or_uses_few_latents_says_so() -> None:
    latents, predicted = _planted(0)
    _, notes = probe_latents(latents, predicted, 3, BaselineConfig(probe_max_iter=1), 0)
    assert notes == ("the probe did not converge in 1 iterations (baselines.probe_max_iter)",)
    dead = latents.clone()
    dead[:, [0, 1, 3, 4, 5, 6, 8, 10, 11]] = 0
    chosen, notes = probe_latents(dead, predicted, 5, BaselineConfig(), 0)
    assert notes == ("the probe uses 3 latents, fewer than the 5 concepts asked for",)
    assert set(chosen.tolist()[:3]) == {2, 7, 9} and len(set(chosen.tolist())) == 5


def test_the_probe_of_two_classes_has_as_many_concepts_as_are_asked_for() -> None:
    latents, predicted = _planted(0)
    two = predicted < 2
    chosen, _ = probe_latents(latents[two], predicted[two], 2, BaselineConfig(), 0)
    assert set(chosen.tolist()) == {2, 7}


def test_the_probe_refuses_a_class_of_fewer_texts_than_folds() -> None:
    latents, predicted = _planted(0)
    rows = torch.cat([(predicted != 2).nonzero()[:, 0], (predicted == 2).nonzero()[:2, 0]])
    with pytest.raises(UserError, match=r"3 texts .* 2"):
        probe_latents(latents[rows], predicted[rows], 3, BaselineConfig(), 0)


def test_the_probe_refuses_a_model_that_says_one_class_alone() -> None:
    latents, predicted = _planted(0)
    with pytest.raises(UserError, match="one class alone"):
        probe_latents(latents, torch.zeros_like(predicted), 3, BaselineConfig(), 0)


def test_a_probe_shows_its_progress_and_takes_the_least_of_equally_accurate_strengths(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    latents, predicted = _planted(0)
    strengths: list[float] = []

    def watch(data: LabelledLatents, strength: float, start: Coefficients, max_iter: int, **_: Any) -> Coefficients:
        strengths.append(strength)
        return start  # zeros, so that all are equally accurate

    monkeypatch.setattr(sae_probe, "fit_l1", watch)
    probe_latents(latents, predicted, 3, BaselineConfig(), 0)
    assert strengths == [*(0.01, 0.1, 1.0) * 3, 0.01]
    assert "Choosing latents: 100%" in capsys.readouterr().err


class _AtOnce(tqdm):  # type: ignore[type-arg]
    """A bar that is shown however quick it is."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **{**settings, "delay": 0, "mininterval": 0, "miniters": 1})


def test_the_probe_and_ica_show_their_iterations_and_how_many_they_may_take(
    task: FitTask, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    latents, predicted = _planted(0)
    monkeypatch.setattr(sae_probe, "tqdm", _AtOnce)
    probe_latents(latents, predicted, 3, BaselineConfig(probe_max_iter=321), 0)
    said = capsys.readouterr().err
    assert all(f"Probe, C = {strength}" in said for strength in ("0.01", "0.1", "1")) and "7/321" in said
    monkeypatch.setattr(ica, "tqdm", _AtOnce)
    ICAConcepts.fit(replace(task, baselines=BaselineConfig(ica_max_iter=123)))
    said = capsys.readouterr().err
    assert "Fitting ica" in said and "2/123" in said


def test_the_probe_sees_so_many_texts_at_most_each_with_its_own_class(
    task: FitTask, fitted: Mapping[str, ConceptMethod], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def spy(*arguments: Any) -> None:
        seen.extend(arguments)
        raise _StopError

    monkeypatch.setattr(sae_probe, "probe_latents", spy)
    sae = fitted["topk_sae"].autoencoder()
    assert sae is not None
    with pytest.raises(_StopError):
        SAEProbeConcepts.from_sae(sae, replace(task, baselines=replace(QUICK, probe_max_texts=50)))
    latents, predicted = seen[:2]
    assert (len(latents), len(predicted)) == (50, 50)
    known = {
        (tuple(own), class_)
        for own, class_ in zip(sae.encode(task.hidden).tolist(), task.predicted.tolist(), strict=True)
    }
    drawn = list(zip(map(tuple, latents.tolist()), predicted.tolist(), strict=True))
    assert set(drawn) <= known and len(set(predicted.tolist())) == 3


# --- guest SAEs ---

_KINDS: dict[str, tuple[type[SAE[Any]], Any]] = {
    "standard": (StandardSAE, StandardSAEConfig),
    "jumprelu": (JumpReLUSAE, JumpReLUSAEConfig),
    "topk": (TopKSAE, TopKSAEConfig),
    "gated": (GatedSAE, GatedSAEConfig),
}


def write_sae(folder: Path, kind: str = "standard", d_in: int = 8, d_sae: int = 12, **settings: Any) -> Path:
    """Save an SAE of SAELens' own with random weights, biases and thresholds."""
    cls, cfg_class = _KINDS[kind]
    if kind == "topk":
        settings = {"k": 4, **settings}
    metadata = settings.pop("metadata", {})
    cfg = cfg_class(d_in=d_in, d_sae=d_sae, **settings)
    for name, value in metadata.items():
        setattr(cfg.metadata, name, value)
    sae = cls(cfg)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for values in sae.parameters():
            values.copy_(torch.randn(values.shape, generator=generator) / 3)
    sae.save_model(folder)
    return folder


def _encode_by_hand(sae: SAE[Any], kind: str, hidden: torch.Tensor) -> tuple[Array, Array, Array]:
    """Latents, and the scale and shift that its normalisation took from each state."""
    p = {name: values.detach().double().numpy() for name, values in sae.named_parameters()}
    x = hidden.double().numpy()
    scale, shift = np.ones((len(x), 1)), np.zeros((len(x), 1))
    if sae.cfg.normalize_activations == "constant_norm_rescale":
        scale = np.linalg.norm(x, axis=1, keepdims=True) / math.sqrt(x.shape[1])
    if sae.cfg.normalize_activations == "layer_norm":
        shift, scale = x.mean(axis=1, keepdims=True), x.std(axis=1, ddof=1, keepdims=True) + 1e-5
    centred = (x - shift) / scale - p["b_dec"]
    if kind == "gated":
        pre = centred @ (p["W_enc"] * np.exp(p["r_mag"])) + p["b_mag"]
        is_open = centred @ p["W_enc"] + p["b_gate"] > 0
    else:
        pre = centred @ p["W_enc"] + p["b_enc"]
        is_open = np.ones(pre.shape, dtype=bool)
    if kind == "jumprelu":
        is_open = pre > p["threshold"]
    if kind == "topk":
        is_open = pre >= np.sort(pre, axis=1)[:, -4][:, None]
    return np.maximum(pre, 0) * is_open, scale, shift


@pytest.mark.parametrize("normalize", ["none", "constant_norm_rescale", "layer_norm"])
@pytest.mark.parametrize("kind", list(_KINDS))
def test_a_guest_sae_encodes_and_decodes_as_its_formula_says(kind: str, normalize: str, tmp_path: Path) -> None:
    folder = write_sae(tmp_path / "guest", kind, normalize_activations=normalize)
    sae = load_sae(str(folder))
    assert sae.cfg.architecture() == kind and sae.cfg.normalize_activations == normalize
    chosen = [5, 0, 9]
    method = SAEProbeConcepts(sae, torch.tensor(chosen))
    hidden = _states()
    latents, scale, shift = _encode_by_hand(sae, kind, hidden)
    assert 0 < (latents > 0).mean() < 1
    np.testing.assert_allclose(method.encode(hidden), latents[:, chosen], rtol=1e-4, atol=1e-5)
    W_dec, b_dec = sae.W_dec.detach().double().numpy(), sae.b_dec.detach().double().numpy()
    concepts = np.abs(np.random.default_rng(0).normal(size=(7, 3)))  # of fewer texts than were encoded
    own_scale = concepts @ W_dec[chosen] + b_dec
    np.testing.assert_allclose(method.decode(torch.from_numpy(concepts).float()), own_scale, rtol=1e-4, atol=1e-5)
    back = [np.broadcast_to(values, (len(hidden), 1))[:7] for values in (scale, shift)]
    of_texts = method.in_own_norm(torch.from_numpy(own_scale).float(), hidden[:7])
    np.testing.assert_allclose(of_texts, own_scale * back[0] + back[1], rtol=1e-4, atol=1e-5)
    # What measures the whole SAE still gets the norm and the mean put back.
    whole = (latents @ W_dec + b_dec) * scale + shift
    np.testing.assert_allclose(sae(hidden).detach(), whole, rtol=1e-3, atol=1e-4)
    encoded = sae.encode(hidden)
    method.decode(torch.from_numpy(concepts).float())
    np.testing.assert_allclose(sae.decode(encoded).detach(), whole, rtol=1e-3, atol=1e-4)


def test_the_top_k_of_a_guest_that_weighs_its_latents_by_the_decoder_s_norms_is_decoded_with_them(
    tmp_path: Path,
) -> None:
    sae = load_sae(str(write_sae(tmp_path / "guest", "topk", rescale_acts_by_decoder_norm=True)))
    concepts = torch.tensor([[2.0, 0.0, 3.0]])
    W_dec = sae.W_dec.detach()
    unit = W_dec / W_dec.norm(dim=1, keepdim=True)
    expected = 2 * unit[5] + 3 * unit[9] + sae.b_dec.detach()
    torch.testing.assert_close(SAEProbeConcepts(sae, torch.tensor([5, 0, 9])).decode(concepts)[0], expected)


def test_a_guest_is_fitted_saved_and_read_like_any_method(task: FitTask, tmp_path: Path) -> None:
    folder = write_sae(tmp_path / "a" / "guest", "jumprelu", d_in=32, normalize_activations="layer_norm")
    spec = find_method(f"sae:{folder}")
    assert (spec.name, spec.title) == ("sae_a-guest", "jumprelu SAE a-guest + probe")
    spec.check(32, 12)
    method = spec.fit(task)
    method.save(tmp_path / "method")
    loaded = load_method(tmp_path / "method")
    assert isinstance(loaded, SAEProbeConcepts)
    assert torch.equal(loaded.encode(task.hidden), method.encode(task.hidden))
    concepts = loaded.encode(task.hidden)
    assert torch.equal(loaded.decode(concepts), method.decode(concepts))
    assert (concepts.shape, (concepts != 0).any().item()) == ((240, N), True)


def test_a_guest_that_was_saved_on_a_gpu_or_in_half_precision_runs_here(task: FitTask, tmp_path: Path) -> None:
    folder = write_sae(tmp_path / "guest", d_in=32, dtype="bfloat16")
    cfg = read_json(folder / "cfg.json")
    (folder / "cfg.json").write_text(json.dumps({**cfg, "device": "cuda"}))
    sae = load_sae(str(folder))
    assert (sae.device.type, sae.W_dec.device.type, sae.W_dec.dtype) == ("cpu", "cpu", torch.bfloat16)
    method = SAEProbeConcepts.from_sae(sae, task)
    concepts = method.encode(task.hidden)
    assert concepts.dtype == method.decode(concepts).dtype == torch.float32
    method.save(tmp_path / "method")
    loaded = load_method(tmp_path / "method")
    assert torch.equal(loaded.encode(task.hidden), concepts)
    assert torch.equal(loaded.decode(concepts), method.decode(concepts))


def test_a_guest_of_other_hidden_states_is_refused(task: FitTask, tmp_path: Path) -> None:
    spec = find_method(f"sae:{write_sae(tmp_path / 'guest', d_in=8)}")
    message = "the SAE has d_in 8, the model's hidden states have 32; use an SAE of this model and hook"
    with pytest.raises(UserError, match=message):
        spec.check(32, N)
    with pytest.raises(UserError, match=message):
        spec.fit(task)


def test_a_guest_of_fewer_latents_than_concepts_is_refused(task: FitTask, tmp_path: Path) -> None:
    spec = find_method(f"sae:{write_sae(tmp_path / 'guest', d_in=32, d_sae=5)}")
    message = "the SAE has 5 latents, fewer than the 6 concepts asked for"
    with pytest.raises(UserError, match=message):
        spec.check(32, N)
    with pytest.raises(UserError, match=message):
        spec.fit(task)


@pytest.mark.parametrize(
    ("hook", "noted"), [("blocks.9.hook_mlp_out", True), ("blocks.2.hook_resid_pre", False), (None, False)]
)
def test_a_guest_that_was_trained_at_another_hook_has_a_note(
    hook: str | None, noted: bool, task: FitTask, tmp_path: Path
) -> None:
    assert task.store.hook_name == "blocks.2.hook_resid_pre"
    folder = write_sae(tmp_path / "guest", d_in=32, metadata={"hook_name": hook})
    notes = find_method(f"sae:{folder}").fit(task).notes
    expected = "the SAE was trained at blocks.9.hook_mlp_out, the hidden states are from blocks.2.hook_resid_pre"
    assert (expected in notes) == noted
    assert any("trained at" in note for note in notes) == noted


def test_a_guest_s_source_is_another_once_its_weights_are(tmp_path: Path) -> None:
    folder = write_sae(tmp_path / "guest")
    before = find_method(f"sae:{folder}")
    assert find_method(f"sae:{folder}").source == before.source
    write_sae(folder, "jumprelu")
    assert find_method(f"sae:{folder}").source != before.source


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere", "'nowhere'.*RELEASE:SAE_ID"),
        ("empty", "SAELens .*'empty'"),
        ("broken", "SAELens .*'broken'"),
        ("strange", "SAELens .*'strange'.*no-such-architecture"),
        ("no-such-release:blocks.0", "SAELens .*'no-such-release:blocks.0'.*no-such-release"),
        ("gpt2-small-res-jb:blocks.99", "SAELens .*'gpt2-small-res-jb:blocks.99'.*blocks.99"),
    ],
)
def test_a_guest_that_is_none_is_refused_by_name(
    source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    broken = write_sae(tmp_path / "broken")
    _cut(broken / "sae_weights.safetensors")
    strange = write_sae(tmp_path / "strange")
    cfg = read_json(strange / "cfg.json")
    (strange / "cfg.json").write_text(json.dumps({**cfg, "architecture": "no-such-architecture"}))
    with pytest.raises(UserError, match=words):
        find_method(f"sae:{source}")


def test_a_guest_of_the_hub_is_refused_quickly_and_clearly_where_there_is_no_network(elsewhere: Path) -> None:
    answer = read_json(elsewhere / "answer.json")
    assert "'gpt2-small-res-jb:blocks.8.hook_resid_pre'" in answer["refusal"]
    assert "Hub" in answer["refusal"]
    assert answer["seconds"] < 20, "each look-up was tried again and again"


# --- what a fitted method depends on ---


def test_what_a_fit_depends_on_is_plain_and_tells_seeds_settings_and_stores_apart(task: FitTask) -> None:
    def key(name: str = "classifsae", **changes: Any) -> str:
        return json.dumps(BUILT_IN[name].made_from(replace(task, **changes)), sort_keys=True)

    other: list[dict[str, Any]] = [
        {"seed": 1},
        {"n_concepts": 7},
        {"sae": replace(SMALL, k=5)},
        {"train": replace(TRAIN, lr=1e-4)},
        {"train": replace(TRAIN, encoder_lr=1e-4)},
        {"store": task.store.relabelled(task.predicted.flip(0))},
    ]
    assert key(train=replace(TRAIN, device=None, n_checkpoints=3, wandb_project="other", seed=99)) == key()
    assert len({key(), *(key(**changes) for changes in other)}) == 1 + len(other)
    assert key("ica") != key("ica", baselines=replace(QUICK, ica_max_iter=7))
    assert key("ica") == key("ica", sae=replace(SMALL, k=5), train=replace(TRAIN, lr=1e-4))
    assert len({key(name) for name in BUILT_IN}) == len(BUILT_IN)


_PROBE = ["probe_max_texts", "probe_max_iter"]
_VECTORS = ["epochs", "batch_size", "lr", "hidden_dim"]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("classifsae", []),
        ("classifier_only", []),
        ("permuted_labels", []),
        ("clusters", []),
        ("topk_sae", _PROBE),
        ("rate_only", _PROBE),
        ("all_latents", _PROBE),
        ("ica", ["ica_max_iter"]),
        ("concept_shap", _VECTORS),
        ("hi_concept", _VECTORS),
        ("random_directions", []),
    ],
)
def test_a_fit_depends_on_the_baselines_that_its_method_declares_and_sees_no_others(
    name: str, settings: list[str], task: FitTask
) -> None:
    changed = BaselineConfig(**{name: value + 1 for name, value in vars(BaselineConfig()).items()})
    spec = BUILT_IN[name]
    noted = spec.made_from(replace(task, baselines=changed))["settings"]["baselines"]
    assert noted == {setting: getattr(changed, setting) for setting in settings}
    seen: list[BaselineConfig] = []

    def watch(task: FitTask) -> ConceptMethod:
        seen.append(task.baselines)
        return ICAConcepts(*torch.zeros(3, 1, 1))

    replace(spec, learn=watch).fit(replace(task, baselines=changed))
    assert vars(seen[0]) == {**vars(BaselineConfig()), **noted}


@pytest.mark.parametrize("data_share", [1.0, 0.5])
def test_all_that_a_fit_depends_on_is_noted(task: FitTask, data_share: float) -> None:
    train = replace(TRAIN, data_share=data_share)
    noted = {
        "source": "probe by L-BFGS-B",
        "baselines": {"probe_max_texts": 10_000, "probe_max_iter": 5000},
        "data_share": data_share,
        "sae": asdict(replace(SMALL, n_concepts=N).sized(task.store.n_classes, task.store.d_in)),
        "train": {
            name: value for name, value in asdict(train.with_rates("robust", N)).items() if name in _NOTED_OF_TRAINING
        },
    }
    found = BUILT_IN["topk_sae"].made_from(replace(task, train=train))
    assert found.pop("store") == task.store.fingerprint()
    assert found == {"method": "topk_sae", "n_concepts": N, "seed": 0, "settings": noted, "tuned": None}


def test_a_fit_notes_what_auto_came_to_so_that_another_rule_for_it_makes_another_fit(task: FitTask) -> None:
    noted = BUILT_IN["classifsae"].made_from(task)["settings"]
    assert "auto" not in [*noted["sae"].values(), *noted["train"].values()]
    trained = made_from(task.store, SMALL, TRAIN)
    assert "auto" not in [*trained["sae"].values(), *trained["train"].values()]


_NOTED_OF_TRAINING = (
    "total_samples", "batch_size", "lr", "encoder_lr", "decoder_lr", "lr_end", "dead_after_steps", "data_share",
    "validation_share", "keep", "n_validations", "log_every",
)  # fmt: skip


def test_which_texts_a_share_of_them_is_depends_on_the_share_held_out(task: FitTask) -> None:
    def key(**train: Any) -> str:
        return json.dumps(BUILT_IN["ica"].made_from(replace(task, train=replace(TRAIN, **train))), sort_keys=True)

    assert key(validation_share=0.2) == key()
    assert key(data_share=0.5, validation_share=0.2) != key(data_share=0.5)


def test_the_names_and_titles_that_help_lists_are_those_of_the_methods() -> None:
    assert titles() == {name: spec.title for name, spec in BUILT_IN.items()}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("topk_sea", "'topk_sea'; .*'topk_sae'"),
        ("ICA", "'ICA'.*ica"),
        ("", "''.*Valid"),
        ("no_such_module_here:Mine", "'no_such_module_here:Mine'"),
        ("sae_lens_classif.methods.ica:ICAConcept", "'ICAConcept'.*'ICAConcepts'"),
        ("json:JSONDecoder", "ConceptMethod 'JSONDecoder'"),
        ("sae_lens_classif.methods.base:ConceptMethod", "has no name of its own"),
    ],
)
def test_a_name_that_is_no_method_is_refused_with_what_would_be(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        find_method(name)


def test_a_class_of_the_user_that_takes_a_built_in_name_is_the_one_refused(tmp_path: Path) -> None:
    (tmp_path / "takes_a_name.py").write_text(
        "from sae_lens_classif import ConceptMethod\n\n\nclass Mine(ConceptMethod, name='ica'): ...\n"
    )
    # A process of its own: here the built-in methods are imported already.
    script = """
from sae_lens_classif.errors import UserError
from sae_lens_classif.methods.find import find_method

try:
    find_method("takes_a_name:Mine")
except UserError as error:
    print(error)
print(find_method("ica").kind.__name__)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    refused, kept = done.stdout.splitlines()
    assert "Mine: the name 'ica' is taken by sae_lens_classif.methods.ica.ICAConcepts" in refused
    assert kept == "ICAConcepts"


@pytest.mark.usefixtures("own_classes")
def test_a_class_of_no_file_is_refused_since_a_change_of_it_would_go_unnoticed() -> None:
    class Typed(_Own, name="typed"):
        __module__ = "of_a_notebook"

    with pytest.raises(UserError, match="Typed is defined in no file"):
        find_method("typed")


@pytest.mark.parametrize("name", [":Mine", ".mine:Mine", "sae_lens_classif..ica:ICAConcepts"])
def test_a_module_name_that_cannot_be_is_the_user_s_mistake(name: str) -> None:
    with pytest.raises(UserError, match="cannot be imported"):
        find_method(name)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_class_that_the_model_never_predicts_stops_no_method(
    name: str, task: FitTask, train_store: ActivationStore, test_store: ActivationStore
) -> None:
    predicted = train_store.read("predicted")
    some = predicted.bincount().argsort(descending=True)[:2]
    without = train_store.subset(torch.isin(predicted, some).nonzero()[:, 0].numpy())
    assert train_store.n_classes > 2 and len(without) > N
    method = BUILT_IN[name].fit(replace(task, store=without))
    assert method.encode(test_store.read("hidden").float()).isfinite().all()
