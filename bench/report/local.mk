# bench/report/: `nexus bench`: runs the programs of bench/ in rounds, judges them by goals.json, writes the report.
