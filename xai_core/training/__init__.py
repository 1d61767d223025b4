"""Training of small models of this project's own: supervised, fine-tuned, and without labels."""
