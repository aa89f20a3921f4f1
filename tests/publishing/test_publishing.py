"""What a run puts on the Hub, and what comes back from there, on a server of this machine that speaks as it does."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import constants
from sae_lens import SAE, TopKSAE

import sae_lens_classif as slc
from sae_lens_classif.checksums import read_json
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.hub import hub_is_reachable
from sae_lens_classif.publishing.publish import publish
from sae_lens_classif.store.store import ActivationStore
from tests.conftest import CLASS_NAMES
from tests.fakes.hub_repository import Repository
from tests.fakes.hub_server import HubServer
from tests.tiny_run import Tiny, assert_refused_at_once, cli, contents, make_tiny, snapshot, write_csv

# huggingface_hub sends large files so.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")
TOKEN = "hf_secretSecretSecret"
REPO = "someone/concepts"


@pytest.fixture(scope="module")
def tiny(
    tmp_path_factory: pytest.TempPathFactory, classifier_folder: Path, train_data: TextData, test_data: TextData
) -> Tiny:
    """A run with an evaluation, of a classifier and texts in folders of this machine."""
    tiny = make_tiny(tmp_path_factory.mktemp("publishing") / "tiny", classifier_folder, train_data, test_data)
    tiny.command("run", "run")
    return tiny


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """An empty Hub in the place of the real one, for this process."""
    with HubServer(tmp_path / "hub", token=TOKEN) as server:
        server.stand_in(monkeypatch, tmp_path / "cache")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        hub_is_reachable.cache_clear()
        yield server
    hub_is_reachable.cache_clear()


def files_of(server: HubServer, name: str = REPO) -> dict[str, bytes]:
    return server.repositories["models", name].files


def copied(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def card_of(readme: bytes) -> tuple[dict[str, Any], str]:
    """Metadata and text of a model card."""
    _, metadata, text = readme.decode().split("---\n", 2)
    return yaml.safe_load(metadata), text


def test_every_file_of_the_dry_run_is_uploaded_and_comes_back_byte_for_byte(tiny: Tiny, hub: HubServer) -> None:
    folder = Path(publish(tiny.run("run"), REPO, license="apache-2.0", dry_run=True))
    assert hub.requests == [], "a dry run asks nobody"
    dry = contents(snapshot(folder))
    assert publish(tiny.run("run"), REPO, license="apache-2.0") == f"{hub.endpoint}/{REPO}"
    assert files_of(hub) == dry
    found = {
        name: Path(huggingface_hub.hf_hub_download(REPO, name, endpoint=hub.endpoint)).read_bytes() for name in dry
    }
    assert found == dry


def test_a_published_sae_loads_by_its_name_with_the_same_latents_and_head(tiny: Tiny, hub: HubServer) -> None:
    publish(tiny.run("run"), REPO)
    trained = slc.ClassifSAE.load_from_disk(tiny.run("run") / "saes" / "classifsae")
    hidden = ActivationStore(tiny.run("run") / "activations" / "test").read("hidden").float()
    z = trained.encode(hidden)
    sae: SAE[Any] = SAE.from_pretrained(REPO, "classifsae")
    assert isinstance(sae, slc.ClassifSAE)
    assert torch.equal(sae.encode(hidden), z) and torch.equal(sae.classify(z), trained.classify(z))
    topk: SAE[Any] = SAE.from_pretrained(REPO, "topk")
    assert type(topk) is TopKSAE
    torch.testing.assert_close(
        topk.encode(hidden), z[:, : trained.cfg.n_concepts]
    )  # of fewer columns: another rounding


@pytest.mark.parametrize("name", ["ica", "topk_sae"])
def test_another_method_is_published_and_the_card_s_snippet_gives_its_concepts(
    demo_run: Path, hub: HubServer, tmp_path: Path, name: str
) -> None:
    publish(demo_run, REPO)
    files_of(hub)["own/notes.md"] = b"of the owner"
    ended = cli("publish", demo_run, REPO, "--method", name)
    assert ended.code == 0, ended.stderr
    assert files_of(hub) == {**contents(snapshot(demo_run / "hub")), "own/notes.md": b"of the owner"}
    metadata, text = card_of(files_of(hub)["README.md"])
    assert metadata["library_name"] == "sae-lens-classif" and name in metadata["tags"]
    assert {f"{name}/method.json", f"evals/{name}/completeness.json", f"evals/{name}/concepts.json"} <= set(
        files_of(hub)
    )
    assert not [file for file in files_of(hub) if file.startswith(("classifsae/", "topk/", "evals/classifsae/"))]
    hidden = ActivationStore(demo_run / "activations" / "test").read("hidden").float()
    found: dict[str, Any] = {"hidden_states": hidden}
    exec(text.split("```python\n")[1].split("```")[0], found)
    assert torch.equal(found["concepts"], slc.load_method(demo_run / "methods" / name / "seed-0").encode(hidden))
    assert "load_method" in ended.stdout and f"float (texts, {hidden.shape[1]})" in text
    everything = b"\n".join(files_of(hub).values())
    assert [secret for secret in (tmp_path, demo_run, Path.home()) if str(secret).encode() in everything] == []
    publish(demo_run, REPO)
    assert not [file for file in files_of(hub) if file.startswith(f"{name}/")], "the ClassifSAE is back alone"


def test_a_published_sae_is_a_guest_of_every_evaluation_with_its_own_concepts(tiny: Tiny, hub: HubServer) -> None:
    publish(tiny.run("run"), REPO)
    guests = f"classifsae,sae:{REPO}:classifsae,sae:{REPO}:topk"
    options = ("--compare.methods", guests, "--compare.seeds", "0", "--baselines.probe_max_iter", "20")
    ended = cli("compare", "--run", tiny.run("run"), *options)
    assert ended.code == 0, ended.stderr
    rows = read_json(tiny.run("run") / "comparison.json")["methods"]
    trained, guest = rows["classifsae"], rows["sae_someone_concepts_classifsae"]
    assert guest["title"] == f"ClassifSAE {REPO}:classifsae" and guest["estimates"] == trained["estimates"]
    assert rows["sae_someone_concepts_topk"]["title"] == f"topk SAE {REPO}:topk + probe"
    assert rows["sae_someone_concepts_topk"]["estimates"]["recovery_accuracy"]["mean"] is not None


def test_publishing_again_replaces_what_is_there(tiny: Tiny, hub: HubServer) -> None:
    publish(tiny.run("run"), REPO, with_texts=True)
    files_of(hub)["figures/old.png"] = b"of an earlier version"
    files_of(hub)["own/notes.md"] = b"of the owner"
    publish(tiny.run("run"), REPO, license="mit")
    metadata, _ = card_of(files_of(hub)["README.md"])
    assert metadata["license"] == "mit"
    expected = {**contents(snapshot(tiny.run("run") / "hub")), "own/notes.md": b"of the owner"}
    assert files_of(hub) == expected, "no texts are left, and nothing that the owner put there is gone"


def test_texts_that_are_not_those_evaluated_are_not_published(tiny: Tiny, tmp_path: Path, test_data: TextData) -> None:
    run = copied(tiny.run("run"), tmp_path / "run")
    others = write_csv(tmp_path / "texts" / "test.csv", test_data.texts[::-1], test_data.labels.tolist()[::-1])
    shutil.copy(tiny.folder / "texts" / "train.parquet", others)
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    settings["data"]["source"] = str(others)
    (run / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    publish(run, REPO, dry_run=True)
    with pytest.raises(UserError, match=r"test texts of .*/texts .*`cache` and `evaluate`"):
        publish(run, REPO, with_texts=True, dry_run=True)


def test_results_of_another_training_are_not_published_as_this_one_s(demo_folder: Path, tmp_path: Path) -> None:
    run = copied(demo_folder / "runs" / "demo", tmp_path / "run")
    causality = run / "evals" / "classifsae" / "causality.json"
    result = read_json(causality)
    result["eval_result_unstructured"]["settings_sha256"] = "of another training"
    causality.write_text(json.dumps(result), encoding="utf-8")
    compared = read_json(run / "comparison.json")
    compared["methods"]["classifsae"]["settings_sha256"] = ["of another training"]
    (run / "comparison.json").write_text(json.dumps(compared), encoding="utf-8")
    drawn = run / "figures" / "classifsae" / "made_from.json"
    drawn.write_text(json.dumps({**read_json(drawn), "settings_sha256": "other"}), encoding="utf-8")
    folder = Path(publish(run, REPO, dry_run=True))
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert "evals/classifsae/completeness.json" in names
    assert not [name for name in names if "causality" in name or "comparison" in name or name.startswith("figures")]
    _, text = card_of((folder / "README.md").read_bytes())
    assert compared["methods"]["ica"]["title"] not in text and "![" not in text


def test_the_prompt_on_the_card_is_the_one_that_the_classifier_was_opened_with(tiny: Tiny) -> None:
    """Its folder knows its own; the settings have the paper's, which was not asked for."""
    _, text = card_of((Path(publish(tiny.run("run"), REPO, dry_run=True)) / "README.md").read_bytes())
    assert r"'{text}\n\nTopic:'" in text and "OPTIONS" not in text
    assert "`<|0|>`".replace("|", r"\|") in text


@pytest.mark.parametrize("license", ["", "Apache 2.0", "mit\nlicense: x"])
def test_a_licence_that_the_hub_cannot_know_is_refused(tiny: Tiny, license: str) -> None:
    with pytest.raises(UserError, match=r"apache-2\.0, mit"):
        publish(tiny.run("run"), REPO, license=license, dry_run=True)


def test_names_of_the_hub_are_linked_and_local_ones_are_not_told(tiny: Tiny, tmp_path: Path) -> None:
    run = copied(tiny.run("run"), tmp_path / "run")
    summary = read_json(run / "summary.json")
    assert summary["hub_names"] == {"model": None, "base_model": None, "data": None}
    metadata, text = card_of((Path(publish(run, REPO, dry_run=True)) / "README.md").read_bytes())
    assert "base_model" not in metadata and "datasets" not in metadata and str(tiny.folder) not in text
    summary["hub_names"] = {"model": "bank/classifier", "base_model": None, "data": "bank/letters"}
    (run / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    folder = Path(publish(run, REPO, dry_run=True))
    metadata, text = card_of((folder / "README.md").read_bytes())
    assert metadata["base_model"] == "bank/classifier" and metadata["datasets"] == ["bank/letters"]
    assert "**bank/classifier**" in text and "**bank/letters**" in text
    for name in ("classifsae", "topk"):
        assert read_json(folder / name / "cfg.json")["metadata"]["model_name"] == "bank/classifier"


@pytest.mark.parametrize("with_texts", [False, True])
def test_texts_are_published_only_when_asked_and_the_card_says_so(
    tiny: Tiny, hub: HubServer, test_data: TextData, with_texts: bool
) -> None:
    publish(tiny.run("run"), REPO, with_texts=with_texts)
    everything = b"\n".join(files_of(hub).values()).decode(errors="replace")
    found = {text for text in test_data.texts if text in everything}
    _, card = card_of(files_of(hub)["README.md"])
    if not with_texts:
        assert found == set() and "top_texts.json" not in card
        return
    assert "evals/top_texts.json" in card
    top = json.loads(files_of(hub)["evals/top_texts.json"])
    concepts = read_json(tiny.run("run") / "summary.json")["methods"]["classifsae"]["concepts"]
    for concept in concepts:
        assert top[str(concept["index"])] == [test_data.texts[row] for row in concept["top_texts"]]


@pytest.mark.parametrize("which", ["tiny", "demo"])
def test_nothing_published_names_this_machine_or_the_token(
    which: str, tiny: Tiny, demo_folder: Path, hub: HubServer, classifier_folder: Path, tmp_path: Path
) -> None:
    run = copied(
        tiny.run("run") if which == "tiny" else demo_folder / "runs" / "demo", tmp_path / "alice" / "s3cret-folder"
    )
    compared = read_json(run / "comparison.json") if which == "demo" else None
    if compared is not None:  # a method that failed, and a guest
        failed = f"seed 0: failed: FileNotFoundError: {tmp_path}/alice/model.bin"
        compared["methods"]["ica"]["notes"].append(failed)
        guest = {**compared["methods"]["topk_sae"], "name": "sae_alice-sae", "title": "topk SAE alice-sae + probe"}
        compared["methods"]["sae_alice-sae"] = guest
        (run / "comparison.json").write_text(json.dumps(compared), encoding="utf-8")
        (run / "comparison.md").write_text(failed, encoding="utf-8")
    ended = cli("publish", run, REPO)
    assert ended.code == 0, ended.stderr
    everything = b"\n".join(files_of(hub).values())
    secrets = (tiny.folder, classifier_folder, tmp_path, classifier_folder.parents[1], Path.home())
    for secret in (*map(str, secrets), classifier_folder.parent.name, "alice", "s3cret-folder", TOKEN):
        assert secret.encode() not in everything, secret
    assert TOKEN not in ended.stdout + ended.stderr
    assert REPO in ended.stdout and "from_pretrained" in ended.stdout
    assert (b"ICA: seed 0: failed\n" in files_of(hub)["README.md"]) == (which == "demo")


def test_the_card_of_a_whole_run_tells_what_a_stranger_needs(demo_run: Path) -> None:
    run = demo_run
    folder = Path(publish(run, REPO, license="cc-by-4.0", dry_run=True))
    metadata, text = card_of((folder / "README.md").read_bytes())
    assert metadata["library_name"] == "saelens" and metadata["license"] == "cc-by-4.0"
    assert {"saelens", "sparse-autoencoder", "sae-lens-classif"} <= set(metadata["tags"])
    summary = read_json(run / "summary.json")
    entry = summary["methods"]["classifsae"]
    measured = {metric["type"]: metric["value"] for metric in metadata["model-index"][0]["results"][0]["metrics"]}
    assert measured["recovery_accuracy"] == pytest.approx(entry["recovery_accuracy"], abs=1e-6)
    low, high = entry["recovery_accuracy_ci95"]
    assert f"| {100 * entry['recovery_accuracy']:.1f} % | {100 * low:.1f} % … {100 * high:.1f} % |" in text
    assert text.index("import sae_lens_classif") < text.index("from sae_lens import SAE")
    for concept in entry["concepts"]:
        row = next(line for line in text.splitlines() if line.startswith(f"| {concept['index']} | "))
        assert concept["class_name"] in row and f"{100 * concept['tvd']:.1f}" in row
        assert concept["key_words"][0].replace("_", r"\_") in row
    assert "TopK SAE + probe" in text, "the comparison is there"
    for picture in ("concept_map", "word_clouds"):
        assert (folder / "figures" / "classifsae" / f"{picture}.png").is_file()
        assert f"(figures/classifsae/{picture}.png)" in text
    linked = {part.split(")")[0] for part in text.split("](")[1:]}
    missing = [path for path in linked if not path.startswith("http") and not (folder / path).exists()]
    assert missing == []


@pytest.mark.slow
def test_the_example_publishes_the_card_s_snippet_loads_and_topk_does_without_this_package(
    tiny: Tiny, tmp_path: Path
) -> None:
    hidden = ActivationStore(tiny.run("run") / "activations" / "test").read("hidden").float()
    torch.save(hidden, tmp_path / "hidden.pt")
    trained = slc.ClassifSAE.load_from_disk(tiny.run("run") / "saes" / "classifsae")
    example = Path(__file__).parents[2] / "examples" / "publish.py"
    with HubServer(tmp_path / "hub", token=TOKEN) as server:
        environment = server.environment(tmp_path / "home") | {"OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_XET": "1"}

        def python(*arguments: str, token: bool = False) -> str:
            variables = environment | ({"HF_TOKEN": TOKEN} if token else {})
            command = [sys.executable, "-W", "ignore", *arguments]
            done = subprocess.run(
                command, env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        (tmp_path / "runs").mkdir()
        (tmp_path / "runs" / "demo").symlink_to(tiny.run("run"))
        shown = python(str(example), REPO, token=True)
        snippet = card_of(files_of(server)["README.md"])[1].split("```python\n")[1].split("```")[0]
        before = "import torch; hidden_states = torch.load('hidden.pt')"
        python("-c", f"{before}\n{snippet}\ntorch.save((concepts, logits), 'out.pt')")
        missing = python(
            "-c",
            "import sys, torch; sys.modules['sae_lens_classif'] = None\nfrom sae_lens import SAE\n"
            f"torch.save(SAE.from_pretrained('{REPO}', 'topk').encode(torch.load('hidden.pt')), 'topk.pt')\n"
            f"try: SAE.from_pretrained('{REPO}', 'classifsae')\n"
            "except KeyError as error: print(error)",
        )
    assert missing == "'classifsae'\n", "SAELens' own words, of which the card and the README warn"
    concepts, logits = torch.load(tmp_path / "out.pt")
    z = trained.encode(hidden)
    assert torch.equal(concepts, z[:, : trained.cfg.n_concepts]) and torch.equal(logits, trained.classify(z))
    torch.testing.assert_close(torch.load(tmp_path / "topk.pt"), concepts)
    assert server.refused == [], "nobody else is asked"
    classes = [CLASS_NAMES[number] for number in trained.classify(z)[:5].argmax(dim=1).tolist()]
    assert shown.splitlines() == [f"published: {server.endpoint}/{REPO}", *classes]


def test_a_connection_that_breaks_off_is_told_and_the_next_attempt_ends_it(
    tiny: Tiny, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.breaks_at = "/lfs/"
    ended = cli("publish", tiny.run("run"), REPO)
    assert_refused_at_once(ended)
    assert "README.md" not in files_of(hub), "the card is there only where all the rest is"
    hub.breaks_at = None
    assert cli("publish", tiny.run("run"), REPO).code == 0
    assert files_of(hub) == contents(snapshot(tiny.run("run") / "hub"))


@pytest.mark.parametrize(
    ("repo", "token", "words"),
    [
        ("someone/taken", TOKEN, ("someone/taken", "README.md")),
        ("stranger/concepts", TOKEN, ("stranger/concepts", "don't have the rights")),
        (REPO, "hf_wrong", (REPO, "Invalid credentials", "hf auth login")),
    ],
)
def test_what_the_hub_refuses_is_told_with_what_to_do(
    tiny: Tiny, hub: HubServer, monkeypatch: pytest.MonkeyPatch, repo: str, token: str, words: tuple[str, ...]
) -> None:
    taken = {"README.md": b"# Mine", "model.safetensors": b"mine"}
    hub.repositories["models", "someone/taken"] = Repository("someone/taken", taken)
    monkeypatch.setenv("HF_TOKEN", token)
    assert_refused_at_once(cli("publish", tiny.run("run"), repo), *words)
    assert files_of(hub, "someone/taken") == taken


def test_a_repository_made_on_the_hub_s_own_page_is_filled(tiny: Tiny, hub: HubServer) -> None:
    new = {".gitattributes": b"*.safetensors filter=lfs", "README.md": b"---\nlicense: mit\n---\n"}
    hub.repositories["models", REPO] = Repository(REPO, new)
    publish(tiny.run("run"), REPO)
    expected = {**contents(snapshot(tiny.run("run") / "hub")), ".gitattributes": new[".gitattributes"]}
    assert files_of(hub) == expected


def test_a_public_repository_is_not_taken_for_a_private_one(tiny: Tiny, hub: HubServer) -> None:
    assert cli("publish", tiny.run("run"), "someone/hidden", "--private").code == 0
    assert hub.repositories["models", "someone/hidden"].private
    assert cli("publish", tiny.run("run"), "someone/hidden", "--private").code == 0
    assert cli("publish", tiny.run("run"), REPO).code == 0
    assert_refused_at_once(cli("publish", tiny.run("run"), REPO, "--private"), REPO, "public")


def test_nobody_logged_in_is_told_how_to(tiny: Tiny, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere/token")
    assert_refused_at_once(cli("publish", tiny.run("run"), REPO), "hf auth login", "HF_TOKEN")


def test_without_the_hub_the_folder_is_there_and_the_error_names_it(tiny: Tiny, hub: HubServer) -> None:
    hub.failing = True
    assert_refused_at_once(cli("publish", tiny.run("run"), REPO), str(tiny.run("run") / "hub"))
    assert (tiny.run("run") / "hub" / "README.md").is_file()


@pytest.mark.parametrize(
    ("repo", "message"),
    [("concepts", "'concepts' .*owner/name"), ("some one/x", "'some one/x'"), ("a/b/c", "'a/b/c'")],
)
def test_names_that_are_no_repository_are_refused(tiny: Tiny, repo: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        publish(tiny.run("run"), repo, dry_run=True)


def test_a_run_without_sae_or_evaluation_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    assert_refused_at_once(cli("publish", tmp_path, REPO, "--dry-run"), str(tmp_path), "config.yaml")
    tiny.command("cache", "begun")
    assert_refused_at_once(cli("publish", tiny.run("begun"), REPO, "--dry-run"), "`train`")
    tiny.command("train", "begun")
    assert_refused_at_once(cli("publish", tiny.run("begun"), REPO, "--dry-run"), "classifsae", "`evaluate`")
    assert not (tiny.run("begun") / "hub").exists()


def test_a_file_in_the_place_of_the_folder_is_named(tiny: Tiny, tmp_path: Path) -> None:
    run = copied(tiny.run("run"), tmp_path / "run")
    shutil.rmtree(run / "hub", ignore_errors=True)
    (run / "hub").write_text("mine", encoding="utf-8")
    assert_refused_at_once(cli("publish", run, REPO, "--dry-run"), str(run / "hub"))
    assert (run / "hub").read_text(encoding="utf-8") == "mine"


def test_who_writes_run_as_an_option_is_told_how_it_is_written(tiny: Tiny) -> None:
    assert_refused_at_once(cli("publish", "--run", tiny.run("run"), REPO), "--run", "publish RUN")


def test_words_and_names_cannot_change_the_card(tiny: Tiny, tmp_path: Path) -> None:
    run = tiny.run("run")
    summary = read_json(run / "summary.json")
    summary["class_names"][0] = "<script>alert(1)</script>"
    summary["methods"]["classifsae"]["concepts"][0]["key_words"] = ["a|b", "**bold**", "<img src=x>", "[x](y)"]
    changed = copied(run, tmp_path / "changed")
    (changed / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    folder = Path(publish(changed, REPO, dry_run=True))
    _, text = card_of((folder / "README.md").read_bytes())
    assert "<script>" not in text and "<img" not in text and "**bold**" not in text and "[x](y)" not in text
    lines = text.splitlines()
    number = next(number for number, line in enumerate(lines) if "&lt;img" in line)
    rule = next(line for line in reversed(lines[:number]) if line.startswith("|--"))
    assert lines[number].replace(r"\|", "").count("|") == rule.count("|"), "the table keeps its columns"


def test_an_unknown_option_is_answered_with_the_nearest(tiny: Tiny) -> None:
    assert_refused_at_once(cli("publish", tiny.run("run"), REPO, "--lisense", "mit"), "'license'")
