"""Every setting of a run, once each: one module a part of the run."""
