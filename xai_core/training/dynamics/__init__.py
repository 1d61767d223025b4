"""How each sample's prediction moved over the epochs of a training: recorded, read and counted."""
