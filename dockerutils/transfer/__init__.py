"""An image on its way to another engine, without a registry."""
