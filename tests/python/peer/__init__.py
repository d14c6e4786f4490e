"""Random ORM queries that have PostgreSQL's answers: see run.py."""
