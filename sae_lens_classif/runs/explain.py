"""The command ``explain``: one text, by the classifier and a concept method of a run."""

from sae_lens_classif.explaining.explain import explain
from sae_lens_classif.explaining.explanation import Explanation
from sae_lens_classif.runs.fitted_methods import load_fitted
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.results import read_summary
from sae_lens_classif.runs.steps import open_run_classifier


def explain_by_run(run: RunFolder, text: str, method: str = METHOD) -> Explanation:
    """Explain one text; concepts are called as the run's evaluation calls them, if there is one.

    Args:
        run: A run with a trained ClassifSAE, or another method that ``compare`` fitted.
        text: Any text with at least one word.
        method: Whose concepts. Default: those of the run's ClassifSAE.

    Raises:
        UserError: If the run has no classifier or no such method, or the text has no word.
    """
    name, fitted = load_fitted(run, method)
    concepts = read_summary(run)["methods"].get(name, {}).get("concepts", ())
    return explain(fitted, open_run_classifier(run), text, concepts, run.cfg.evaluate.context)
