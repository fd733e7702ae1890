"""What the commands share: parsers, exit statuses, completion."""
