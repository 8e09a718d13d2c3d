"""Exercises: at least three a chapter, each with a blank, a hint, an answer, and a check that runs offline.

The file `<number>_<stage>.yml` is the one source of a chapter's exercises. `asprm.exercises.write` puts them into the
notebook, and `asprm.exercises.check` judges what a student found, by the tables of the run at hand.
"""
