"""Finding the APIs of a whole dataset that suit a task, for queries that come without a list of them."""
