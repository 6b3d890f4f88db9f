"""A matrix of clean series in legal but unusual form and of planted faults, each with its truth in numpy.

``python -m tests.io.matrix`` runs it and prints a table by kind.
"""
