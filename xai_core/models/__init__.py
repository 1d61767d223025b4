"""Networks that can be explained: their cards, where their weights come from, and how they are cut."""
