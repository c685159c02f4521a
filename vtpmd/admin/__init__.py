"""The admin interface: HTTP/JSON on a Unix socket."""
