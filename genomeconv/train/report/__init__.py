"""The end of a run: model card, numbers beside baselines, curves."""
