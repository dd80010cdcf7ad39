"""What jobs do, one file for each kind: from checked JSON inputs to a JSON result."""
