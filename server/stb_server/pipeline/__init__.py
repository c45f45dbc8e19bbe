"""How one call is answered: the layers of a cache mode, asked in order."""
