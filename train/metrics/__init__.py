"""The papers' measures, with intervals."""
