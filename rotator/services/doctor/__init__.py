"""What `rotator doctor` looks at. Each module decides from values; who reads them is elsewhere."""
