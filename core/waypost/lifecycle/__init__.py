"""What a message's events mean: its status and its money. Pure rules; nothing here reads a clock or a database."""
