"""One class a sequence: files, objective, judgement, card."""
