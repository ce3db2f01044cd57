"""`weir guard bench`: what the guard costs and lets through, beside other guards on the same texts in the same run."""
