"""What a match policy would do: judged by itself, on a pool, and against the present one."""
