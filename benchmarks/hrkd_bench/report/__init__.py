"""The document shown: a table on a terminal, and one self-contained HTML page with its figures."""
