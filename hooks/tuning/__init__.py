"""How a language model is brought to a task."""
