"""Which indexes would pay? Candidates from the real statements, priced by what-if, chosen under a budget."""
