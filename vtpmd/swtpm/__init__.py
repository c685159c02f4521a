"""swtpm's control and data protocol as QEMU and its other clients speak it, without any I/O."""
