"""The state store on SQLAlchemy; SQLite is the embedded default."""
