"""The agents that come with the product."""
