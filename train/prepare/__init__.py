"""Prepare a corpus: faces and clips as networks take them, in shards."""
