"""Models by name: find, load and run them."""
