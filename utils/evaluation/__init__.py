"""From scores to findings: evaluation, compare, explain, stress, adapt (models from elsewhere)."""
