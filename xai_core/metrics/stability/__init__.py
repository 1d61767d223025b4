"""How a map changes with the picture, the parameters and the class."""
