"""The verifier: quotes, event logs, policies, and the signing key. It works offline.

It needs no daemon, no network and no privilege. Everything it reads was written by somebody who
may lie: sizes are bounded, what is not expected is refused, and nothing is told of octets that no
signature or digest covers.
"""
