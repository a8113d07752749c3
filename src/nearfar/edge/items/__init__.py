"""What is no text in an index: pictures, recordings, series and rows as items, their thumbnails, one ranking of all, a page of hits."""
