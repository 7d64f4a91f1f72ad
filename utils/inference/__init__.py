"""From new radiographs to answers: classify."""
