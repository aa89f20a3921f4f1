"""HF Trainer's progress bar without the dictionary it prints at the end."""

from typing import Any

from transformers import ProgressCallback


class QuietProgress(ProgressCallback):
    """Shows the bar; says nothing."""

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the numbers are in the log."""
