"""Train the face decoder."""
