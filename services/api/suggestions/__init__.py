"""Who would fit somebody: a ranked list with the ground they share."""
