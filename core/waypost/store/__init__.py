"""The only SQL: one module per noun, one function per question, on SQLite and PostgreSQL alike."""
