"""What the pages of the documentation and of the console have in common."""
