"""From scores to findings: evaluation, compare, errors, explain, stress, adapt (models from elsewhere)."""
