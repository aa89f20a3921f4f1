"""The report of a run: one page that somebody who reads no code can judge the concepts by."""
