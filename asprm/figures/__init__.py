"""Figures: one function per figure. It takes plain arrays and frames and returns a `Plot` with its alternative text.

The functions read no files and compute no more than shares per group. There is a module for each chapter or two, so
that a change to a figure does not rerun other chapters.
"""
