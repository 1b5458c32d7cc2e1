"""Between the processes: mailbox, the socket's client, engine parameters."""
