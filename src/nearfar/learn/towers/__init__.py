"""The towers of one space of several modalities: for each kind of items how they are kept, seen, embedded and shipped."""
