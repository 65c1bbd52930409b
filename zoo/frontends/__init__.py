"""From pixels or a waveform to what a network takes, as torch modules."""
