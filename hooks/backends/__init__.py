"""Ways to run a language model, one module each behind ``TextClassifier``."""
