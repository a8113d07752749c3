"""What can be said of a whole collection of texts or pictures: what is double, what belongs together, what it is called."""
