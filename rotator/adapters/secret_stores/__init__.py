"""Secrets managers: the only places where cookies and master secrets lie."""
