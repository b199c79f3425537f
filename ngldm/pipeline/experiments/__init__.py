"""Experiments that consist of many trainings or scores: the study, and the score by epoch."""
