"""Everything that touches the language model: loading, fine-tuning, caching, intervening."""

if __name__ == "hooks":
    raise ImportError("import sae_lens_classif.hooks, not hooks: this folder is mapped into the package")
