"""The tables and their migrations: SQLite in a file by default, PostgreSQL by URL, one code path."""
