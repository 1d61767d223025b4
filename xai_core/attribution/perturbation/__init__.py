"""What changes when parts of the picture are taken away. No gradients."""
