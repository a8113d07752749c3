"""Methods: encoder(s), heads, loss and negatives, as a published algorithm. Each is two steps, `embed` and `loss`."""
