"""The study behind the released results, and behind notebook 6. It uses `utils`; `utils` knows nothing of it.

kept (what is kept), tables and figures (what is shown), experiments (the main trainings, to be run anew).
README.md says how; protocol.md came before.
"""
