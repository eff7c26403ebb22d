"""What stands beside trunk and head."""
