"""Judges: what they are asked, how their replies are read, and the verdicts they give."""
