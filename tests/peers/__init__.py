"""The TPMs that tests and measurements talk to: vtpmd, and swtpm as the yardstick.

Nothing here uses vtpmd's code: daemons are started and spoken to as their users do it.
"""
