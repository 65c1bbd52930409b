"""Training of voice encoders and face decoders. Nothing can be trained in this release yet."""
