"""The run of `make demo` from Python: load it, train another ClassifSAE, look at its concepts."""

import sae_lens_classif as slc

cfg = slc.load_config("runs/demo/config.yaml")
classifier = slc.load_classifier("runs/demo/classifier")
states = slc.ActivationStore("runs/demo/activations/train")

settings = slc.SAESettings()  # 20 concepts, twice as many latents as the states are wide
slc.train_classifsae(states, settings, slc.TrainConfig(total_samples=200_000), classifier=classifier).save("my_sae")

sae = slc.ClassifSAE.load_from_disk("my_sae")  # as SAE.load_from_disk does
test_states = slc.ActivationStore("runs/demo/activations/test")
result = slc.evaluate(sae, classifier, test_states, slc.load_text_data(cfg.data, "test"))
for concept in result.concepts[:5]:
    print(f"{concept.class_name}: {', '.join(concept.key_words)} (TVD {concept.tvd:.1%})")
