"""Facts from api, each applied once: who hears what, and what is kept to say it."""
