"""The model zoo: the catalogue, the networks and the signal front ends."""
