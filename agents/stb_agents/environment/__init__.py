"""What an agent sees: the query, its functions, its budget, and the calls it makes."""
