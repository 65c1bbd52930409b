"""Where models come from and where they lie: downloads, bundles, the hub."""
