"""HTTP, and nothing else: parse, call a service, render. No decision about a rotation is made here."""
