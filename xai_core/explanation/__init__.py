"""A question about a model, the map that answers it, and what is done with maps: colours, agreement, files."""
