"""Progress: the one place where evidence changes a message, its steps and its money."""
