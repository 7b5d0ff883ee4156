"""Sections of the pages: HTML from numbers, each with what it means."""
