"""The page that explains one picture."""
