"""One server process: its options, its resources and the datasets that it serves."""
