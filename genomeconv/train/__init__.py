"""Training: from FASTA and a config to a model folder, never losing a step."""
