"""The page that compares networks."""
