# bench/growth/: what it costs to have many: connections, tasks, timers, workers.
