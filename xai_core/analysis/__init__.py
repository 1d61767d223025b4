"""A model on whole datasets and beside other models: predictions, confusion, checks, pictures made from it, the report."""
