"""Measurements of many pictures: what they will cost, the run, its store, and what may be said from it."""
