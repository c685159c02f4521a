"""System calls and the service manager: what vtpmd asks of Linux, one module each."""
