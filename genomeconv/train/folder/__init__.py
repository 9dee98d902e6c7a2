"""What a run keeps on disk: its record, its log, its checkpoints."""
