"""Next and masked bases: bits per base, beside Markov models."""
