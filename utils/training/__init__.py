"""From radiographs to a run: recipes, fit, augment, watch, resume, transfer."""
