"""Whom a participant would like to be matched with, and whom not: their own knowledge alone."""
