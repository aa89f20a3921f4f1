"""One text explained: which concepts are active on it, what each does, and which words drive it."""
