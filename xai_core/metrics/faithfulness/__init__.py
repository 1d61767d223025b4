"""Whether the places that a map marks matter to the network."""
