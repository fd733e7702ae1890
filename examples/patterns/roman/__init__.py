"""Numbers as the Romans wrote them."""
