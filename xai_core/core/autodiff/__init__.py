"""Derivatives, other derivatives, and activations read on the way: for one thread and one pass; no network is written to."""
