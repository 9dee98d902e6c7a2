"""Sequences, which of them are learned from, and windows of them."""
