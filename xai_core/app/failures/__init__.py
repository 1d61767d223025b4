"""The page Failure analysis: the steps from a model's errors to a plan of what to do."""
