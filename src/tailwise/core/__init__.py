"""What everything else stands on: class statistics, the registry, specifications, random streams, errors."""
