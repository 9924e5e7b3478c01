"""Taking measurements: child processes, rounds, arrivals, resources. What is left behind are samples, and no claim."""
