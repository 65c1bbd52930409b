"""What everything else rests on: errors, files, the facts about models, parity."""
