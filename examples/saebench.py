r"""SAEBench's core evaluation and sparse probing, and sae-probes, on a run: python examples/saebench.py RUN TEXTS

RUN is a run whose classifier `finetune` made, or which names a local one; TEXTS is a folder `fancyzhx/ag_news` with
`train.parquet` and `test.parquet` (the name is one that SAEBench knows), given from the folder it lies in.

sae-bench pins older numpy and datasets than this package needs, but runs with newer ones. In an environment that holds
sae_lens_classif:

    pip install --no-deps sae-bench==0.6.0 sae-probes==0.4.2 \
        collectibles openai jiter seaborn tabulate xgboost zstandard
    JAXTYPING_DISABLE=1 HF_HUB_OFFLINE=1 python examples/saebench.py ...
"""

import json
import sys
from pathlib import Path
from typing import Any

import sae_bench.evals.core.main as core
import sae_bench.evals.sparse_probing.main as sparse_probing
import sae_probes.generate_model_activations as probes_activations
import torch
from sae_probes import run_sae_evals
from transformer_lens import HookedTransformer

import sae_lens_classif as slc
from sae_lens_classif.hooks.backends.hooked_transformer import to_hooked_transformer
from sae_lens_classif.hooks.huggingface import load_causal_lm, load_tokenizer, model_context

run, texts = Path(sys.argv[1]), sys.argv[2]
own = slc.load_config(run / "config.yaml").classifier.model or str(run / "classifier")
lm = load_causal_lm(own, torch.float32)
model = to_hooked_transformer(lm, model_context(lm), torch.device("cpu"))
tokenizer = load_tokenizer(own)
tokenizer.bos_token = tokenizer.pad_token = tokenizer.eos_token  # SAEBench asks for all three
model.set_tokenizer(tokenizer)  # type: ignore[no-untyped-call]  # it has no annotations
HookedTransformer.from_pretrained_no_processing = lambda *_, **__: model  # type: ignore[method-assign]  # it knows names

name = "my_classifier"
sae = slc.SAEBenchAdapter(slc.ClassifSAE.load_from_disk(run / "saes" / "classifsae"), model_name=name)
saes: list[tuple[str, Any]] = [("classifsae", sae)]

settings = sparse_probing.SparseProbingEvalConfig(
    model_name=name, llm_batch_size=64, llm_dtype="float32", dataset_names=[texts],
    probe_train_set_size=2000, probe_test_set_size=500, context_length=96,
)  # fmt: skip
result = sparse_probing.run_eval(settings, saes, "cpu", "saebench/probing", True, artifacts_path="saebench/artifacts")
print("sparse probing", json.dumps(next(iter(result.values()))["eval_result_metrics"], indent=1))

result = core.multiple_evals(
    saes, n_eval_reconstruction_batches=10, n_eval_sparsity_variance_batches=50, eval_batch_size_prompts=16,
    compute_featurewise_density_statistics=True, compute_featurewise_weight_based_metrics=True,  # it fails without
    dataset=texts, context_size=96, output_folder="saebench/core", dtype="float32", device="cpu", force_rerun=True,
)  # fmt: skip
print("core", json.dumps(result[0]["metrics"], indent=1))

names = ["161_agnews_0", "162_agnews_1", "163_agnews_2"]
probes_activations.ensure_dataset_activations(
    name, names, [sae.cfg.hook_name], "saebench/activations", device="cpu", max_seq_len=96, model=model
)
run_sae_evals(
    sae=sae, model_name=name, hook_name=sae.cfg.hook_name, reg_type="l1", setting="normal", ks=[1, 5, 20],
    datasets=names, results_path="saebench/probes", model_cache_path="saebench/activations", device="cpu",
)  # fmt: skip
for file in sorted(Path("saebench/probes").rglob("*.json")):
    print(file.name, json.loads(file.read_text(encoding="utf-8")))
