"""The cards of the models of this project, and those of the user."""
