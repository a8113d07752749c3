"""From readers to batches: texts and pairs on disk, what is positive, what is held out, what shares a batch."""
