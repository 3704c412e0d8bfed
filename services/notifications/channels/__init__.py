"""Ways a message leaves; each answers with what became of it."""
