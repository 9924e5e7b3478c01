"""What may be said about samples: intervals, verdicts, accuracy, and each of them in words."""
