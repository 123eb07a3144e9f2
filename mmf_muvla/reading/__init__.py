"""Readers of foreign files that execute nothing and account for what is damaged."""
