"""Features of texts on disk: what a slow reading of each text alone gives in any batches, and whole after a kill."""

import copy
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sae_lens import SAE, TopKSAE, TopKSAEConfig
from sae_lens.saes.sae import SAEMetadata

import sae_lens_classif as slc
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.features.caching import cache_features
from sae_lens_classif.features.pooling import Pooling
from sae_lens_classif.features.sources import FeatureSource, open_source
from sae_lens_classif.features.store import FeatureStore
from sae_lens_classif.hooks.token_states import TokenReader
from sae_lens_classif.store.shards import ShardWriter
from tests.fakes.models import WIDTH
from tests.tiny_run import contents, snapshot

FIRST, SECOND = "blocks.0.hook_resid_post", "blocks.2.hook_resid_pre"
TEXTS = ("the quick brown fox jumps over a lazy dog rain storm bank",)
POOLINGS = tuple(map(Pooling.of, ("last", "mean", "max", "sum", "counts2")))


def write_sae(folder: Path, hook: str | None, d_in: int = WIDTH, named: str | None = "somebody/model") -> str:
    torch.manual_seed(len(str(hook)))
    metadata = SAEMetadata(model_name=named, hook_name=hook)
    sae = TopKSAE(TopKSAEConfig(d_in=d_in, d_sae=48, k=4, dtype="float32", device="cpu", metadata=metadata))
    with torch.no_grad():
        sae.W_enc.normal_()
    sae.save_model(folder)
    return str(folder)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, reader: TokenReader) -> list[FeatureSource]:
    folder = tmp_path_factory.mktemp("saes")
    names = write_sae(folder / "one", FIRST), write_sae(folder / "two", SECOND), f"hidden:{SECOND}"
    return [open_source(name, reader) for name in names]


@pytest.fixture(scope="module")
def data() -> TextData:
    random, words = np.random.default_rng(0), TEXTS[0].split()
    texts = tuple(" ".join(random.choice(words, random.integers(1, 12))) for _ in range(23))
    return TextData(texts, np.arange(23) % 2, ("a", "b"))


def dense(rows: Any) -> npt.NDArray[np.float32]:
    values: npt.NDArray[np.float32] = rows if isinstance(rows, np.ndarray) else rows.toarray()
    return values


def slowly(reader: TokenReader, source: FeatureSource, texts: list[str], how: str) -> npt.NDArray[np.float32]:
    """A text at a time and a token at a time."""
    rows = []
    for text in texts:
        (part,) = reader.read([text], [source.hook])
        tokens = part.streams[0].numpy()
        if not source.name.startswith("hidden"):
            sae: SAE[Any] = SAE.load_from_disk(source.name)
            tokens = torch.cat([sae.encode(token[None]) for token in part.streams[0]]).detach().numpy()
        if how == "counts2":
            best = [np.argsort(-token, kind="stable")[:2] for token in tokens]
            rows.append(np.bincount(np.concatenate(best), minlength=tokens.shape[1]).astype(np.float32))
        else:
            rows.append({"last": tokens[-1], "mean": tokens.mean(0), "max": tokens.max(0), "sum": tokens.sum(0)}[how])
    return np.stack(rows)


@pytest.mark.parametrize("max_batch_tokens", [1, 40, None])
def test_rows_are_what_each_text_alone_gives(
    reader: TokenReader, sources: list[FeatureSource], data: TextData, tmp_path: Path, max_batch_tokens: int | None
) -> None:
    store = cache_features(
        reader, data, sources, POOLINGS, tmp_path / "f", shard_size=10, max_batch_tokens=max_batch_tokens
    )
    assert len(store) == 23 and len(store.plan.columns) == 5 + 5 + 4
    assert store.n_tokens().tolist() == [len(text.split()) for text in data.texts]
    for source in sources:
        for pooling in POOLINGS[: 5 if source.is_sparse else 4]:
            found = store.read(f"{source.name}/{pooling}")
            expected = slowly(reader, source, list(data.texts), str(pooling))
            np.testing.assert_allclose(dense(found), expected, atol=1e-4, rtol=1e-4)


def test_the_order_of_the_texts_is_theirs(
    reader: TokenReader, sources: list[FeatureSource], data: TextData, tmp_path: Path
) -> None:
    order = np.random.default_rng(1).permutation(23)
    other = TextData(tuple(data.texts[row] for row in order), data.labels[order], data.class_names)
    one, two = (
        cache_features(reader, texts, sources[:1], POOLINGS, tmp_path / name, max_batch_tokens=1)
        for name, texts in (("a", data), ("b", other))
    )
    for column in one.plan.columns:  # a text a batch: the same products, the same bits
        np.testing.assert_array_equal(dense(one.read(column.name))[order], dense(two.read(column.name)))


def test_a_killed_caching_goes_on_and_ends_with_the_same_bytes(
    reader: TokenReader, sources: list[FeatureSource], data: TextData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cached(name: str) -> FeatureStore:
        return cache_features(reader, data, sources, POOLINGS, tmp_path / name / "f", shard_size=7)

    write, done, last = ShardWriter.write_shard, list[int](), 2

    def watched(self: ShardWriter, number: int, tensors: Mapping[str, torch.Tensor]) -> None:
        if number == last:
            raise KeyboardInterrupt
        done.append(number)
        write(self, number, tensors)

    whole = cached("whole")
    monkeypatch.setattr(ShardWriter, "write_shard", watched)
    with pytest.raises(KeyboardInterrupt):
        cached("killed")
    last = -1
    again = cached("killed")
    assert done == [0, 1, 2, 3]
    assert again.fingerprint() == whole.fingerprint()
    one, other = (contents(snapshot(tmp_path / name, "**/*")) for name in ("whole", "killed"))
    assert one == other
    cached("killed")
    assert len(done) == 4, "what is there is read, not made again"


def test_of_a_classif_sae_the_features_are_its_concepts(reader: TokenReader, data: TextData, tmp_path: Path) -> None:
    torch.manual_seed(0)
    cfg = slc.ClassifSAEConfig(
        d_in=WIDTH, d_sae=48, k=4, n_concepts=5, n_classes=2, dtype="float32", device="cpu",
        metadata=SAEMetadata(hook_name=SECOND, class_names=["a", "b"]),
    )  # fmt: skip
    sae = slc.ClassifSAE(cfg)
    with torch.no_grad():
        sae.W_enc.normal_()
    sae.save_model(tmp_path / "sae")
    slc.sign_sae(tmp_path / "sae")
    source = open_source(str(tmp_path / "sae"), reader)
    assert source.width == 5
    found = cache_features(reader, data, [source], [Pooling("sum")], tmp_path / "f").read(f"{source.name}/sum")
    expected = []
    for text in data.texts:
        (part,) = reader.read([text], [SECOND])
        expected.append(sae.encode(part.streams[0])[:, :5].sum(dim=0).detach().numpy())
    np.testing.assert_allclose(dense(found), np.stack(expected), atol=1e-4)


def test_an_sae_of_another_model_hook_or_none_is_refused(reader: TokenReader, tmp_path: Path) -> None:
    for name, hook, d_in, words in (
        ("wide", FIRST, 16, r"wide is of another model than .*16 wide at blocks\.0.*somebody/model, here they are 32"),
        ("deep", "blocks.7.hook_resid_pre", WIDTH, r"has no hook 'blocks\.7\.hook_resid_pre' .* L = 0\.\.2"),
        ("mlp", "blocks.1.hook_mlp_out", WIDTH, r"no hook 'blocks\.1\.hook_mlp_out' in its residual stream"),
        ("silent", None, WIDTH, r"silent does not say .*metadata\.hook_name"),
    ):
        with pytest.raises(UserError, match=words):
            open_source(write_sae(tmp_path / name, hook, d_in), reader)
    with pytest.raises(UserError, match="no folder 'nothing'"):
        open_source("nothing", reader)
    with pytest.raises(UserError, match="has no hook"):
        open_source("hidden:blocks.9.hook_resid_pre", reader)


_DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a shard gone": (lambda folder: next(folder.glob("shard_*")).unlink(), "is missing; delete"),
    "a shard cut": (lambda folder: _cut(next(folder.glob("shard_*"))), "is not what `features` wrote; delete"),
    "a manifest changed": (lambda folder: _change(folder / "manifest.json"), "was altered since it was written"),
    "nothing": (shutil.rmtree, "holds no finished features; run `features`"),
}


def _cut(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _change(file: Path) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    content["made_from"]["n_texts"] = 7
    file.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("damage", _DAMAGES)
def test_damaged_features_are_refused(
    reader: TokenReader, sources: list[FeatureSource], data: TextData, tmp_path: Path, damage: str
) -> None:
    store = cache_features(reader, data, sources[:1], POOLINGS, tmp_path / "f")
    name = store.plan.columns[0].name
    change, words = _DAMAGES[damage]
    change(tmp_path / "f")
    with pytest.raises(UserError, match=words):
        FeatureStore(tmp_path / "f").read(name)


def test_features_of_something_else_are_not_taken(
    reader: TokenReader, sources: list[FeatureSource], data: TextData, tmp_path: Path
) -> None:
    cache_features(reader, data, sources[:1], POOLINGS, tmp_path / "f")
    with pytest.raises(UserError, match="was made with"):
        cache_features(reader, data, sources[:2], POOLINGS, tmp_path / "f")
    with pytest.raises(UserError, match="was made with"):
        cache_features(reader, data, sources[:1], POOLINGS, tmp_path / "f", special_tokens=True)
    known = FeatureStore(tmp_path / "f").fingerprint()
    renamed = copy.copy(reader)
    renamed.name = "the same model elsewhere"
    assert cache_features(renamed, data, sources[:1], POOLINGS, tmp_path / "f").fingerprint() == known
    with pytest.raises(UserError, match="no features are asked for"):
        cache_features(reader, data, sources[2:], [Pooling("counts")], tmp_path / "g")
    with pytest.raises(UserError, match=r"has no features .* Valid"):
        FeatureStore(tmp_path / "f").read("nothing/mean")
