"""The store of hidden states: what is written is what is read, in the order that was promised, or refused."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sae_lens_classif.checksums import read_json, sha256_of_file, write_json
from sae_lens_classif.config.classifier import CacheConfig, PromptConfig
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.batching import states_of_inputs
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.load import load_classifier
from sae_lens_classif.store.caching import cache_states
from sae_lens_classif.store.store import ActivationStore, Fingerprints, StorePlan
from sae_lens_classif.store.writer import StoreWriter

_N, _D_IN, _SHARD = 150, 8, 64
_PROC_STATUS = Path("/proc/self/status")
_SHARDS = (
    "shard_00000.safetensors",
    "shard_00001.safetensors",
    "shard_00002.safetensors",
    "shard_00003.safetensors",
)


def _plan(n_texts: int = _N, d_in: int = _D_IN, dtype: str = "float32", shard_size: int = _SHARD) -> StorePlan:
    return StorePlan(
        fingerprints=Fingerprints(model="m" * 64, data="d" * 64, prompt="p" * 64),
        model_name="tiny",
        hook_name="blocks.2.hook_resid_pre",
        class_names=("animals", "weather", "money"),
        n_texts=n_texts,
        d_in=d_in,
        context_size=32,
        prepend_bos=False,
        dtype=dtype,
        shard_size=shard_size,
    )


def _columns() -> dict[str, torch.Tensor]:
    """Any values; the first of a hidden state is the row, exact in every precision."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(_N, _D_IN, generator=generator)
    hidden[:, 0] = torch.arange(_N)
    return {
        "hidden": hidden,
        "predicted": torch.randint(3, (_N,), generator=generator),
        "label": torch.randint(3, (_N,), generator=generator),
        "text_index": torch.arange(_N),
    }


def _fill(writer: StoreWriter, columns: dict[str, torch.Tensor]) -> None:
    for number, texts in list(writer.missing()):
        part = slice(texts.start, texts.stop)
        writer.write(number, columns["hidden"][part], columns["predicted"][part], columns["label"][part], texts)


def _write(folder: Path, plan: StorePlan | None = None) -> ActivationStore:
    writer = StoreWriter(folder, plan or _plan())
    _fill(writer, _columns())
    writer.finish()
    return ActivationStore(folder)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- what is read is what was written ---


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shard_size", [1, _SHARD, _N, 1000])
def test_every_column_is_read_as_it_was_written(tmp_path: Path, dtype: str, shard_size: int) -> None:
    store, columns = _write(tmp_path / "store", _plan(dtype=dtype, shard_size=shard_size)), _columns()
    columns["hidden"] = columns["hidden"].to(getattr(torch, dtype))
    rows = np.random.default_rng(1).integers(0, _N, 500)
    assert len(store) == _N
    for name, values in columns.items():
        for expected, read in (
            (values, store.read(name)),
            (values[60:70], store.read(name, 60, 70)),
            (values[torch.from_numpy(rows)], store.rows(name, rows)),
        ):
            assert read.dtype == values.dtype
            assert torch.equal(read, expected), name


def test_a_part_of_a_store_is_a_store_of_those_rows(tmp_path: Path) -> None:
    store, columns = _write(tmp_path / "store"), _columns()
    rows = np.array([149, 3, 64, 63, 70])
    part = store.subset(rows)
    assert len(part) == 5 and len(store) == _N
    for name, values in columns.items():
        assert torch.equal(part.read(name), values[rows]), name
    assert torch.equal(part.subset(np.array([4, 0])).read("hidden"), columns["hidden"][[70, 149]])
    shuffled = columns["predicted"].flip(0)
    assert torch.equal(store.relabelled(shuffled).subset(rows).read("predicted"), shuffled[rows])
    own = torch.tensor([7, 8, 9, 10, 11])
    assert torch.equal(part.relabelled(own).rows("predicted", np.array([1, 4])), own[[1, 4]])
    assert len({store.fingerprint(), part.fingerprint(), store.subset(rows[::-1].copy()).fingerprint()}) == 3
    batches = part.batches(5, part.training_rows(0.0, seed=0))
    assert sorted(next(batches)[:, 0].tolist()) == sorted(rows.tolist()), "its first number is the row"


def test_the_manifest_says_what_the_store_is(tmp_path: Path) -> None:
    store = _write(tmp_path / "store", _plan(dtype="float16"))
    manifest = json.loads((store.folder / "manifest.json").read_text(encoding="utf-8"))
    shards = [path for path in store.folder.iterdir() if path.name != "manifest.json"]
    assert sorted(path.name for path in shards) == list(_SHARDS[:3])
    assert manifest == {
        "format": 1,
        "fingerprints": {"model": "m" * 64, "data": "d" * 64, "prompt": "p" * 64},
        "model_name": "tiny",
        "hook_name": "blocks.2.hook_resid_pre",
        "context_size": 32,
        "prepend_bos": False,
        "class_names": ["animals", "weather", "money"],
        "n_texts": _N,
        "d_in": _D_IN,
        "dtype": "float16",
        "shard_size": _SHARD,
        "multi_label": False,
        "columns": {
            "hidden": {"dtype": "float16", "shape": [_N, _D_IN]},
            "predicted": {"dtype": "int64", "shape": [_N]},
            "label": {"dtype": "int64", "shape": [_N]},
            "text_index": {"dtype": "int64", "shape": [_N]},
        },
        "sha256": {path.name: sha256_of_file(path) for path in shards},
        "own_sha256": manifest["own_sha256"],
    }
    assert (store.d_in, store.n_classes, store.dtype) == (_D_IN, 3, "float16")
    assert (store.model_name, store.hook_name) == ("tiny", "blocks.2.hook_resid_pre")
    store.verify()


def test_a_store_has_the_fingerprint_of_its_content(tmp_path: Path) -> None:
    same = {_write(tmp_path / name).fingerprint() for name in ("first", "second")}
    other = _write(tmp_path / "other", _plan(dtype="float16")).fingerprint()
    assert len(same) == 1 and other not in same


def test_a_cache_holds_the_states_and_classes_the_model_gives_each_text_alone(
    classifier: TextClassifier, train_data: TextData, train_store: ActivationStore
) -> None:
    assert len(train_store) == len(train_data)
    assert torch.equal(train_store.read("label"), torch.from_numpy(train_data.labels))
    assert torch.equal(train_store.read("text_index"), torch.arange(len(train_data)))
    alone = [classifier.states_and_logits(classifier.inputs([text])) for text in train_data.texts]
    hidden = torch.cat([states.hidden for states in alone])
    logits = torch.cat([states.logits for states in alone])
    torch.testing.assert_close(train_store.read("hidden"), hidden, rtol=0, atol=1e-5)
    assert torch.equal(train_store.read("predicted"), logits.argmax(dim=-1))


# --- batches ---


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("batch_size", [1, 32, 400])
def test_each_epoch_serves_every_training_row_once_in_an_order_of_its_own(
    tmp_path: Path, dtype: str, batch_size: int
) -> None:
    store, columns = _write(tmp_path / "store", _plan(dtype=dtype)), _columns()
    split = store.training_rows(validation_share=0.1, seed=3)
    n_training, n_epochs = 135, 4
    batches = list(islice(store.batches(batch_size, split), -(-n_epochs * n_training // batch_size)))
    assert all(batch.shape == (batch_size, _D_IN + 1) and batch.dtype == torch.float32 for batch in batches)
    served = torch.cat(batches)
    rows = served[:, 0].to(torch.int64)
    stored = columns["hidden"].to(getattr(torch, dtype)).float()
    assert torch.equal(served[:, :-1], stored[rows])
    assert torch.equal(served[:, -1], columns["predicted"][rows].float())

    held_out = torch.cat(list(store.held_out_batches(batch_size, split)))[:, 0].to(torch.int64)
    epochs = rows[: n_epochs * n_training].reshape(n_epochs, n_training)
    for number, epoch in enumerate(epochs):
        assert torch.equal(torch.cat([epoch, held_out]).sort().values, torch.arange(_N))
        # Two random orders of 135 rows agree at one position on average; at 9 by a chance of 1e-6.
        assert all((epoch == other).sum() < 9 for other in epochs[:number])


@pytest.mark.parametrize("start", [0, 32, 37, 134, 135, 1000])
def test_batches_go_on_exactly_where_an_earlier_run_stopped(tmp_path: Path, start: int) -> None:
    store = _write(tmp_path / "store")
    split = store.training_rows(validation_share=0.1, seed=3)
    whole = torch.cat(list(islice(store.batches(1, split), start + 96)))
    assert torch.equal(torch.cat(list(islice(store.batches(32, split, start), 3))), whole[start:])


def test_held_out_rows_are_served_once_in_the_same_order_each_time(tmp_path: Path) -> None:
    store = _write(tmp_path / "store")
    split = store.training_rows(validation_share=0.5, seed=3)
    assert split.n_held_out == 75
    first, again = (torch.cat(list(store.held_out_batches(32, split))) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (75, _D_IN + 1) and len(set(first[:, 0].tolist())) == 75
    assert list(store.held_out_batches(32, store.training_rows(0.0, seed=3))) == []


def test_another_seed_holds_other_rows_out_and_serves_another_order(tmp_path: Path) -> None:
    store = _write(tmp_path / "store")
    one, other = (store.training_rows(validation_share=0.5, seed=seed) for seed in (0, 1))
    held_out = [set(split.held_out(np.arange(75)).tolist()) for split in (one, other)]
    # 37.5 of 75 are shared on average, with a standard deviation of 3.1.
    assert 18 < len(held_out[0] & held_out[1]) < 57
    assert not torch.equal(next(store.batches(32, one)), next(store.batches(32, other)))


# --- memory ---


@pytest.fixture
def big_store(tmp_path: Path) -> Iterator[ActivationStore]:
    """600 MB of states: 600,000 of 1 KiB, whose first value is the row."""
    n_texts, d_in, n_shards = 600_000, 256, 4
    size = n_texts // n_shards
    writer = StoreWriter(tmp_path / "big", _plan(n_texts, d_in, shard_size=size))
    classes = torch.zeros(size, dtype=torch.int64)
    for number, texts in list(writer.missing()):
        hidden = torch.ones(size, d_in)
        hidden[:, 0] = torch.arange(texts.start, texts.stop)
        writer.write(number, hidden, classes, classes.clone(), texts)
        del hidden
    writer.finish()
    yield ActivationStore(tmp_path / "big")
    shutil.rmtree(tmp_path / "big")


def _resident_mib() -> float:
    """Memory of this process, mapped files included."""
    status = dict(line.split(":", 1) for line in _PROC_STATUS.read_text().splitlines())
    return sum(int(status[name].split()[0]) for name in ("RssAnon", "RssFile")) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not _PROC_STATUS.is_file(), reason="the system has no /proc/self/status")
def test_reading_a_big_store_at_random_does_not_keep_it_in_memory(big_store: ActivationStore) -> None:
    before, peak = _resident_mib(), 0.0
    split = big_store.training_rows(validation_share=0.0, seed=0)
    for number, batch in enumerate(islice(big_store.batches(500, split), 150)):
        expected = split.training(np.arange(number * 500, (number + 1) * 500))
        assert torch.equal(batch[:, 0], torch.from_numpy(expected).float())
        peak = max(peak, _resident_mib() - before)
    # The 75,000 states that were read are 73 MiB, the pages they lie on 293 MiB, the store 586 MiB.
    assert peak < 300, f"{peak:.0f} MiB more are resident"


# --- what is refused ---


@pytest.mark.parametrize("name", ["model", "data", "prompt"])
@pytest.mark.parametrize("finished", [True, False])
def test_a_store_of_another_model_data_set_or_template_is_refused_with_both_fingerprints(
    tmp_path: Path, classifier: TextClassifier, classifier_folder: Path, bare_folder: Path, test_data: TextData,
    monkeypatch: pytest.MonkeyPatch, name: str, finished: bool,
) -> None:  # fmt: skip
    folder, cfg, data = tmp_path / "store", CacheConfig(shard_size=16), test_data
    if finished:
        cache_states(classifier, data, folder, cfg)
    else:
        _interrupt(monkeypatch, at_call=2)
        with pytest.raises(KeyboardInterrupt):
            cache_states(classifier, data, folder, cfg)
        monkeypatch.undo()
    before = _bytes(tmp_path)
    other = classifier
    if name == "model":
        other = load_classifier(classifier_folder, dtype="bfloat16")
    elif name == "data":
        data = TextData((*data.texts[:-1], "another text"), data.labels, data.class_names)
    else:
        other = load_classifier(
            bare_folder, data.class_names, PromptConfig(template="{text}\n\nSubject:", label_word="<|{id}|>")
        )
    found, asked = (
        Fingerprints(model.model_fingerprint, texts.fingerprint(), model.prompt_fingerprint())
        for model, texts in ((classifier, test_data), (other, data))
    )
    assert [key for key in ("model", "data", "prompt") if getattr(found, key) != getattr(asked, key)] == [name]
    message = (
        rf"another (fingerprints\.)?{name} .*{getattr(found, name)[:16]}, now .*{getattr(asked, name)[:16]}.*"
        rf"delete .*{folder.name}"
    )
    with pytest.raises(UserError, match=message):
        cache_states(other, data, folder, cfg)
    assert _bytes(tmp_path) == before


def test_texts_of_other_classes_than_the_models_are_refused(
    tmp_path: Path, classifier: TextClassifier, test_data: TextData
) -> None:
    data = TextData(test_data.texts, test_data.labels, ("animals", "weather", "sport"))
    with pytest.raises(UserError, match=r"animals, weather, sport.*data\.class_names"):
        cache_states(classifier, data, tmp_path / "store")


def test_an_unfinished_store_that_was_begun_with_another_precision_is_refused(tmp_path: Path) -> None:
    StoreWriter(tmp_path / "store", _plan())
    with pytest.raises(UserError, match=r"dtype = 'float32', now dtype = 'float16'.*delete"):
        StoreWriter(tmp_path / "store", _plan(dtype="float16"))


def _cut(share: float) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "is missing"),
        (_cut(0.0), "damaged"),
        (_cut(0.01), "damaged"),
        (_cut(0.5), "damaged"),
        (_cut(0.999), "damaged"),
        (lambda path: path.write_bytes(b"\xff" * path.stat().st_size), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "damaged|size"),
    ],
    ids=["missing", "empty", "header cut", "half", "end cut", "garbage", "longer"],
)
def test_a_store_with_a_damaged_file_is_refused_when_it_is_opened(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    shard = _write(tmp_path / "store").folder / _SHARDS[1]
    damage(shard)
    with pytest.raises(UserError, match=rf"{_SHARDS[1]} .*({message}).*`cache`"):
        ActivationStore(tmp_path / "store")


def test_a_store_in_which_one_bit_was_changed_does_not_verify(tmp_path: Path) -> None:
    shard = _write(tmp_path / "store").folder / _SHARDS[2]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=rf"{_SHARDS[2]} .*delete .*`cache`"):
        ActivationStore(tmp_path / "store").verify()


def test_a_store_of_another_format_is_refused(tmp_path: Path) -> None:
    manifest = _write(tmp_path / "store").folder / "manifest.json"
    write_json(manifest, {**read_json(manifest), "format": 2})
    with pytest.raises(UserError, match=r"format 2, .* 1"):
        ActivationStore(tmp_path / "store")


def test_no_rows_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no rows were asked for"):
        _write(tmp_path / "store").read("hidden", 5, 5)


def _no_store_is_there(folder: Path) -> bool:
    with pytest.raises(UserError, match="`cache`"):
        ActivationStore(folder)
    return not folder.exists()


@pytest.mark.parametrize(("dtype", "value"), [("float32", torch.nan), ("bfloat16", torch.inf), ("float16", 70_000.0)])
def test_states_that_are_not_finite_on_disk_are_refused_and_leave_no_store(
    tmp_path: Path, dtype: str, value: float
) -> None:
    columns = _columns()
    columns["hidden"][100, 3] = value
    writer = StoreWriter(tmp_path / "store", _plan(dtype=dtype))
    with pytest.raises(UserError, match=rf"text 100 .*{dtype} .*float32"):
        _fill(writer, columns)
    assert _no_store_is_there(tmp_path / "store")
    assert [number for number, _ in writer.missing()] == [1, 2]


# --- full disks and killed runs ---


def _interrupt(monkeypatch: pytest.MonkeyPatch, at_call: int) -> list[int]:
    """Let the computing of states fail at one call; gives the list of the numbers of texts computed."""
    computed: list[int] = []

    def counted(*args: Any) -> Any:
        if len(computed) + 1 == at_call:
            raise KeyboardInterrupt
        states = states_of_inputs(*args)
        computed.append(len(states.hidden))
        return states

    monkeypatch.setattr("sae_lens_classif.store.caching.states_of_inputs", counted)
    return computed


@pytest.mark.parametrize("at_shard", [0, 2])
def test_a_disk_that_is_full_during_a_shard_leaves_no_store_and_the_next_run_finishes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_shard: int
) -> None:
    undisturbed = _write(tmp_path / "undisturbed").folder

    write_bytes = Path.write_bytes

    def write_or_fail(path: Path, content: bytes) -> int:
        if f"{at_shard:05d}" in path.name:
            write_bytes(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, content)

    monkeypatch.setattr("pathlib.Path.write_bytes", write_or_fail)
    with pytest.raises(UserError, match=rf"disk is full .*{_SHARDS[at_shard]}"):
        _write(tmp_path / "store")
    assert _no_store_is_there(tmp_path / "store")
    monkeypatch.undo()
    assert [number for number, _ in StoreWriter(tmp_path / "store", _plan()).missing()] == [*range(at_shard, 3)]
    assert _bytes(_write(tmp_path / "store").folder) == _bytes(undisturbed)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_disk_that_is_full_at_the_manifest_leaves_no_store(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "store", _plan())
    _fill(writer, _columns())
    (tmp_path / "store.unfinished" / f"manifest.json.{os.getpid()}.partial").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"disk is full .*manifest\.json"):
        writer.finish()
    assert _no_store_is_there(tmp_path / "store")


def test_a_killed_cache_goes_on_where_it_stopped_and_ends_with_the_same_files(
    tmp_path: Path, classifier: TextClassifier, train_data: TextData, train_store: ActivationStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder, unfinished, cfg = tmp_path / "train", tmp_path / "train.unfinished", CacheConfig(shard_size=64)
    computed = _interrupt(monkeypatch, at_call=3)
    with pytest.raises(KeyboardInterrupt):
        cache_states(classifier, train_data, folder, cfg)
    assert computed == [64, 64] and _no_store_is_there(folder)
    finished = {path.name: path.stat().st_mtime_ns for path in unfinished.glob("shard_*")}
    assert sorted(finished) == list(_SHARDS[:2])
    # What a process killed while it writes leaves: safetensors' own temporary file, then ours.
    (unfinished / ".tmpSaSOfF").write_bytes(b"half")
    (unfinished / "shard_00002.safetensors.partial").write_bytes(b"half")
    (unfinished / "manifest.json.partial").write_bytes(b"half")
    monkeypatch.undo()

    computed = _interrupt(monkeypatch, at_call=-1)
    store = cache_states(classifier, train_data, folder, cfg)
    assert computed == [64, 48]
    assert {name: (folder / name).stat().st_mtime_ns for name in finished} == finished
    assert _bytes(folder) == _bytes(train_store.folder)
    assert not unfinished.exists()
    store.verify()


def test_a_finished_cache_is_reused_without_the_model(
    tmp_path: Path, classifier: TextClassifier, test_data: TextData, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cache_states(classifier, test_data, tmp_path / "test")
    before = _bytes(first.folder)
    _interrupt(monkeypatch, at_call=1)
    again = cache_states(classifier, test_data, tmp_path / "test")
    assert again.fingerprint() == first.fingerprint() and _bytes(again.folder) == before
