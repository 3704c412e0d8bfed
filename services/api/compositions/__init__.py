"""How mentorships come about: who may be together, and joining one that is there."""
