"""One isolated, encrypted TPM 2.0 for every QEMU/KVM virtual machine."""

__version__ = "0.1.0"
