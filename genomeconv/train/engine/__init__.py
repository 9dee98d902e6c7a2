"""The steps of a run, on one process or many."""
