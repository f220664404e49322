"""How the project reads and writes files: whole outputs, JSON, tables, arrays, digests."""
