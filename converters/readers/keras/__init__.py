"""Weight files of Keras, legacy and Keras 3."""
