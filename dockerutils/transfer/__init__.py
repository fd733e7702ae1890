"""Send an image to another engine over ssh, without a registry."""
