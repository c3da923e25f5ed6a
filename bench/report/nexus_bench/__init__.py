"""nexus bench: runs the programs of bench/ in shuffled rounds, judges them by goals.json, writes the report."""
