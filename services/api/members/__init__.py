"""Members of mentorships: who drives, and who leaves."""
