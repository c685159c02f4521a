"""Machines at work while everything else fails: what was acknowledged stays."""
