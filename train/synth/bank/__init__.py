"""Base voices for synthetic people."""
