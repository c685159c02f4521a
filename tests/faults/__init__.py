"""What goes wrong on a host, done to the real daemon: nothing is lost and no other TPM notices.

Root is needed where processes are traced or file systems mounted; those tests are skipped without.
"""
