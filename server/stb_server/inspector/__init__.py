"""The inspector: pages that show what the store holds. They are made on the server and need no network."""
