"""From radiographs to a run: recipes, fit, augment, batches, watch, checkpoint, mirror, finish."""
