"""The pages' Altair charts."""
