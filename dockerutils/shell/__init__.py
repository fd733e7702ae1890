"""What runs in the user's shell, or on a dock."""
