"""How a ClassifSAE is trained on a store."""
