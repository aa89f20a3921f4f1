"""The evaluations: completeness, causality, interpretability."""

if __name__ == "evals":
    raise ImportError("import sae_lens_classif.evals, not evals: this folder is mapped into the package")
