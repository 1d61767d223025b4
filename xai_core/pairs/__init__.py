"""Why a model finds two views alike: explanations of a pair, one map for each view, and their measurement."""
