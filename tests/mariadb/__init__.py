"""A MariaDB of our own for tests: server, ISPyB tables, procedures and grants."""
