"""A RabbitMQ node for the tests."""
