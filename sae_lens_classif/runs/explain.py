"""The command ``explain``: one text, by the classifier and the ClassifSAE of a run."""

from sae_lens_classif.explaining.explain import Explanation, explain
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.results import read_summary
from sae_lens_classif.runs.steps import load_trained, open_run_classifier


def explain_by_run(run: RunFolder, text: str) -> Explanation:
    """Explain one text; concepts are called as the run's evaluation calls them, if there is one.

    Args:
        run: A run with a trained ClassifSAE.
        text: Any text with at least one word.

    Raises:
        UserError: If the run has no classifier or no trained SAE, or the text has no word.
    """
    method, _ = load_trained(run)
    concepts = read_summary(run)["methods"].get(METHOD, {}).get("concepts", ())
    return explain(method, open_run_classifier(run), text, concepts, run.cfg.evaluate.context)
