"""Asking a zygote for workers: what supervisor and keeper share, without trio."""
