"""Watching streams of sensors on the device: frames, scores, alarms."""
