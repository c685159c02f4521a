"""The process that serves one virtual machine, and the zygote it is forked from."""
