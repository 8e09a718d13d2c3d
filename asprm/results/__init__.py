"""What a run shows: outcomes per problem, evidence, costs, and the paper's claims as data."""
