"""The study behind the released results, and behind notebook 6. It uses `utils`; `utils` knows nothing of it.

experiments (trainings), candidates (compared without the test set), probing (what trained networks do
with changed pictures), tables and figures (what is shown of it). protocol.md was written before.
"""
