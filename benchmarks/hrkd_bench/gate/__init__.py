"""Whether a measurement is good enough: budgets, a comparison with an earlier one, and how build servers read that."""
