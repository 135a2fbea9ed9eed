"""What the flows talk about and talk to: records, tables, stores, programs, connections."""
