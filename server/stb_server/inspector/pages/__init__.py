"""The pages of the inspector, one module per page."""
