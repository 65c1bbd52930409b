"""The training loop and what it rests on: recipe, checkpoints, history, run folder."""
