"""One table of rules for each kind of weight file; nothing else lives here."""
