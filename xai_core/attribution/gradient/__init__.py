"""Gradients of the target to the pixels."""
