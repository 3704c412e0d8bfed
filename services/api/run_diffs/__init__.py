"""Two runs of one track side by side: what changed, for whom, and why."""
