"""Figures: one function per figure, from plain arrays and frames to a `Plot` that carries its own alternative text.

Nothing here reads a file or computes more than shares per group. There is a module for each chapter or two, so that a
changed figure concerns no other chapter.
"""
