"""Methods that find concepts in hidden states, behind one interface (``base.ConceptMethod``)."""
