"""One module for each group of commands; each ends in `register(app)`."""
