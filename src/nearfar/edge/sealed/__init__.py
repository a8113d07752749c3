"""What is sealed on the device: the file that templates or a history lie in, its keys, and the folder around it."""
