# bench/peers/: the same work on other people's runtimes; each one optional.
