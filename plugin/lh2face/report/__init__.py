"""Parts of the report, from tables and arrays: figures, the table, pictures. None reads a file."""
