"""The page of pairs of views."""
