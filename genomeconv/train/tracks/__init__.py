"""Tracks in bins: files, objective, judgement, card."""
