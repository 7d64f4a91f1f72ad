"""From radiographs to a run: recipes, fit (the training), augment, transfer, watch, resume."""
