"""What loading a saved ClassifSAE tells about files that are missing, cut off, changed or newer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import SAE
from safetensors.torch import load_file, save_file

from sae_lens_classif import ClassifSAE, sign_sae
from sae_lens_classif.errors import UserError
from tests.saes.test_sae import new_sae

Load = Callable[[Path], Any]
_WEIGHTS, _CFG = "sae_weights.safetensors", "cfg.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    new_sae().save(tmp_path / "sae")
    return tmp_path / "sae"


@pytest.fixture(params=[SAE.load_from_disk, ClassifSAE.load_from_disk], ids=["SAE", "ClassifSAE"])
def load(request: pytest.FixtureRequest) -> Load:
    """Either of the ways in; SAELens knows nothing of the checks."""
    way: Load = request.param
    return way


def change_cfg(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    cfg = json.loads((folder / _CFG).read_text(encoding="utf-8"))
    change(cfg)
    (folder / _CFG).write_text(json.dumps(cfg), encoding="utf-8")


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / _WEIGHTS)
    change(weights)
    save_file(weights, folder / _WEIGHTS)


def test_a_single_changed_weight_is_noticed(folder: Path, load: Load) -> None:
    content = bytearray((folder / _WEIGHTS).read_bytes())
    content[-5] ^= 1
    (folder / _WEIGHTS).write_bytes(content)
    with pytest.raises(UserError, match=r"cfg\.json .*SHA-256"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda own: own.pop("classifier_bias"), r"classifier_bias .*cfg\.json .*\(3,\)"),
        (lambda own: own.update(extra=torch.zeros(2)), r"extra .*\(2,\), .*cfg\.json"),
        (lambda own: own.update(W_dec=torch.zeros(7, 16)), r"W_dec .*\(7, 16\), .*\(40, 16\)"),
        (lambda own: own["b_dec"].fill_(torch.nan), "b_dec is not finite"),
        (lambda own: own["W_enc"].fill_(torch.inf), "W_enc is not finite"),
    ],
)
def test_weights_that_are_not_those_of_the_configuration_are_named(
    folder: Path, load: Load, change: Callable[[dict[str, torch.Tensor]], None], message: str
) -> None:
    change_weights(folder, change)
    with pytest.raises(UserError, match=message):
        load(folder)


def test_another_number_of_concepts_in_the_configuration_is_noticed(folder: Path, load: Load) -> None:
    change_cfg(folder, lambda cfg: cfg.update(n_concepts=9))
    with pytest.raises(UserError, match=r"classifier_weight of shape \(3, 8\), .* of shape \(3, 9\)"):
        load(folder)


def test_a_newer_format_asks_for_an_upgrade(folder: Path, load: Load) -> None:
    change_cfg(folder, lambda cfg: cfg["metadata"].update(classifsae_format=3, sae_lens_classif_version="9.1"))
    with pytest.raises(UserError, match=r"format 3 .*9\.1; .* 2: pip install --upgrade"):
        load(folder)


def test_an_sae_saved_before_there_were_checksums_loads(folder: Path, load: Load) -> None:
    before = ClassifSAE.load_from_disk(folder).W_dec
    noted = ("sae_lens_classif_version", "classifsae_format", "weights_sha256", "weights_dtype", "settings_sha256")
    change_cfg(folder, lambda cfg: [cfg["metadata"].pop(name) for name in noted])
    assert torch.equal(load(folder).W_dec, before)


@pytest.mark.parametrize(
    "change",
    [
        {"k": 2},
        {"apply_b_dec_to_input": True},
        {"normalize_activations": "none"},
        {"rescale_acts_by_decoder_norm": True},
        {"metadata": {"hook_name": "blocks.0.hook_resid_pre"}},
        {"metadata": {"class_names": ["money", "weather", "animals"]}},
        {"metadata": {"weights_dtype": "float16"}},
    ],
    ids=str,
)
def test_settings_that_were_changed_by_hand_are_refused_until_their_author_signs_them(
    folder: Path, load: Load, change: dict[str, Any]
) -> None:
    own = dict(change)
    metadata = own.pop("metadata", {})
    change_cfg(folder, lambda cfg: [cfg.update(own), cfg["metadata"].update(metadata)])
    with pytest.raises(UserError, match=r"settings in the SAE's cfg\.json are not those .*sign_sae"):
        load(folder)
    sign_sae(folder)
    sae = load(folder)
    assert {name: getattr(sae.cfg, name) for name in own} == own
    signed = {name: value for name, value in metadata.items() if name != "weights_dtype"}
    assert {name: sae.cfg.metadata[name] for name in signed} == signed


def test_weights_that_do_not_fit_are_not_signed(folder: Path) -> None:
    change_cfg(folder, lambda cfg: cfg.update(n_concepts=9))
    with pytest.raises(UserError, match="classifier_weight of shape"):
        sign_sae(folder)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_another_precision_is_no_change(folder: Path, dtype: str) -> None:
    assert SAE.load_from_disk(folder, dtype=dtype).W_dec.dtype == getattr(torch, dtype)


def test_an_sae_that_was_changed_on_purpose_is_saved_with_its_new_checksum(
    folder: Path, tmp_path: Path, load: Load
) -> None:
    sae = ClassifSAE.load_from_disk(folder)
    with torch.no_grad():
        sae.b_dec.add_(1)
    sae.save_model(tmp_path / "changed")
    assert torch.equal(load(tmp_path / "changed").b_dec, sae.b_dec)
    sae.to(torch.bfloat16).save_model(tmp_path / "half")
    assert torch.equal(load(tmp_path / "half").b_dec, sae.b_dec)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / _CFG).unlink(), r"cfg\.json"),
        (lambda folder: (folder / _WEIGHTS).unlink(), r"sae_weights\.safetensors"),
        (lambda folder: (folder / _CFG).write_text("{"), r"cfg\.json .*JSON"),
        (lambda folder: (folder / _WEIGHTS).write_bytes(b""), r"sae_weights\.safetensors"),
        (
            lambda folder: (folder / _WEIGHTS).write_bytes((folder / _WEIGHTS).read_bytes()[:-100]),
            r"sae_weights\.safetensors",
        ),
    ],
)
def test_missing_and_cut_off_files_are_named(folder: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(folder)
    with pytest.raises(UserError, match=message):
        ClassifSAE.load_from_disk(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere .*cfg\.json"):
        ClassifSAE.load_from_disk(tmp_path / "nowhere")
