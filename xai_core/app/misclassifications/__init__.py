"""The page of misclassifications."""
