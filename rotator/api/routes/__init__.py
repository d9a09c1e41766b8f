"""One module a resource; each ends with the table of its routes."""
