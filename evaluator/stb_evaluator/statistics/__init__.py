"""Pure statistics on scores: values in, values out; chance takes a seed."""
