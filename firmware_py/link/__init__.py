"""Between the processes: mailbox, lines of JSON, socket client, engine parameters."""
