"""The page Review: rounds, votes, discussion, agreement, minutes."""
