"""Facts of the domain, written in the transaction that makes them true."""
