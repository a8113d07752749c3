"""For this person, on this device: recommendation and ranking from a history that never leaves."""
