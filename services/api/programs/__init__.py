"""What is offered: programs, their tracks, forms, match policies and agreement templates."""
