"""The study behind the released results, and behind notebook 6. It uses `utils`; `utils` knows nothing of it.

experiments, divisions and small_data (trainings), screening (candidates, on development images), probing
(what trained networks do with changed pictures); kept (what is kept of them), tables and figures (what is
shown). README.md says how to run them; protocol.md came before.
"""
