"""Put the run of `make demo` on the Hub and load it from there: `hf auth login`, then this with your-name/concepts."""

import sys

import sae_lens_classif as slc

repo = sys.argv[1]
print("published:", slc.publish("runs/demo", repo))
sae = slc.ClassifSAE.from_pretrained(repo, "classifsae")  # as anyone else would; SAE.from_pretrained does the same
states = slc.ActivationStore("runs/demo/activations/test")
for number in sae.classify(sae.encode(states.read("hidden")[:5].float())).argmax(dim=-1).tolist():
    print(states.class_names[number])
